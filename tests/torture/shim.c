/* Counts the libc calls of a process that change a file system, and kills the process at a chosen one.
 *
 * Loaded with LD_PRELOAD; idle until `torture_attach` maps the control file (layout in shim.py). Counting starts when
 * the driver sets `armed`. Reads are no points: what a call leaves on the disk stays the same until the next change.
 * SQLite's own calls are counted with the rest; its shared-memory index (-shm) is mapped, and so written without calls:
 * it is rebuilt from the log whenever nobody else has the database open.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { TRACE_ROWS = 16384, ROW_BYTES = 64 };
enum { KILL_BEFORE, KILL_AFTER, TERMINATE };

struct control {
    _Atomic uint32_t armed;
    uint32_t how;              /* what happens at the call: see the names below */
    _Atomic uint64_t count;
    uint64_t kill_at;          /* 0: never */
    char trace[TRACE_ROWS][ROW_BYTES];
};

static struct control *control;

int torture_attach(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -1;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return -1;
    control = mapped;
    return 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static uint64_t begin(const char *call, const char *path, int fd) {
    if (!control || !atomic_load(&control->armed)) return 0;
    int saved = errno;
    uint64_t number = atomic_fetch_add(&control->count, 1) + 1;
    if (number <= TRACE_ROWS) {
        char target[512] = "", link[64];
        if (!path && fd >= 0) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t size = readlink(link, target, sizeof target - 1);
            target[size > 0 ? size : 0] = 0;
            path = target;
        }
        const char *name = path ? path : "";
        size_t length = strlen(name), room = ROW_BYTES - strlen(call) - 2;
        snprintf(control->trace[number - 1], ROW_BYTES, "%s %s", call, length > room ? name + length - room : name);
    }
    if (number == control->kill_at) {
        if (control->how == KILL_BEFORE) die();
        if (control->how == TERMINATE) kill(getpid(), SIGTERM);
    }
    errno = saved;
    return number;
}

static void end(uint64_t number) {
    if (number && control->how == KILL_AFTER && number == control->kill_at) die();
}

#define NEXT(name) \
    static typeof(name) *next; \
    if (!next) next = dlsym(RTLD_NEXT, #name)
#define FORWARD(type, name, path, fd, ...) \
    NEXT(name); \
    uint64_t number = begin(#name, path, fd); \
    type result = next(__VA_ARGS__); \
    end(number); \
    return result

static int changes(int flags) { return (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY; }

static mode_t mode_of(int flags, va_list list) {
    return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = mode_of(flags, list); \
        va_end(list); \
        NEXT(name); \
        uint64_t number = changes(flags) ? begin(#name, path, -1) : 0; \
        int result = next(path, flags, mode); \
        end(number); \
        return result; \
    }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = mode_of(flags, list); \
        va_end(list); \
        NEXT(name); \
        uint64_t number = changes(flags) ? begin(#name, path, -1) : 0; \
        int result = next(at, path, flags, mode); \
        end(number); \
        return result; \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t mode) { FORWARD(int, creat, path, -1, path, mode); }

ssize_t write(int fd, const void *data, size_t size) { FORWARD(ssize_t, write, NULL, fd, fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int n) { FORWARD(ssize_t, writev, NULL, fd, fd, parts, n); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { FORWARD(ssize_t, pwrite, NULL, fd, fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    FORWARD(ssize_t, pwrite64, NULL, fd, fd, data, size, at);
}
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags) {
    FORWARD(ssize_t, copy_file_range, NULL, out, in, in_at, out, out_at, size, flags);
}

int rename(const char *a, const char *b) { FORWARD(int, rename, b, -1, a, b); }
int renameat(int x, const char *a, int y, const char *b) { FORWARD(int, renameat, b, -1, x, a, y, b); }
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
    FORWARD(int, renameat2, b, -1, x, a, y, b, flags);
}
int link(const char *a, const char *b) { FORWARD(int, link, b, -1, a, b); }
int linkat(int x, const char *a, int y, const char *b, int flags) { FORWARD(int, linkat, b, -1, x, a, y, b, flags); }
int symlink(const char *a, const char *b) { FORWARD(int, symlink, b, -1, a, b); }
int symlinkat(const char *a, int y, const char *b) { FORWARD(int, symlinkat, b, -1, a, y, b); }
int unlink(const char *path) { FORWARD(int, unlink, path, -1, path); }
int unlinkat(int at, const char *path, int flags) { FORWARD(int, unlinkat, path, -1, at, path, flags); }
int mkdir(const char *path, mode_t mode) { FORWARD(int, mkdir, path, -1, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { FORWARD(int, mkdirat, path, -1, at, path, mode); }
int rmdir(const char *path) { FORWARD(int, rmdir, path, -1, path); }

int truncate(const char *path, off_t size) { FORWARD(int, truncate, path, -1, path, size); }
int truncate64(const char *path, off64_t size) { FORWARD(int, truncate64, path, -1, path, size); }
int ftruncate(int fd, off_t size) { FORWARD(int, ftruncate, NULL, fd, fd, size); }
int ftruncate64(int fd, off64_t size) { FORWARD(int, ftruncate64, NULL, fd, fd, size); }
int fallocate(int fd, int mode, off_t at, off_t size) { FORWARD(int, fallocate, NULL, fd, fd, mode, at, size); }
int posix_fallocate(int fd, off_t at, off_t size) { FORWARD(int, posix_fallocate, NULL, fd, fd, at, size); }

int chmod(const char *path, mode_t mode) { FORWARD(int, chmod, path, -1, path, mode); }
int fchmod(int fd, mode_t mode) { FORWARD(int, fchmod, NULL, fd, fd, mode); }
int fchmodat(int at, const char *path, mode_t mode, int flags) { FORWARD(int, fchmodat, path, -1, at, path, mode, flags); }
int chown(const char *path, uid_t u, gid_t g) { FORWARD(int, chown, path, -1, path, u, g); }
int lchown(const char *path, uid_t u, gid_t g) { FORWARD(int, lchown, path, -1, path, u, g); }
int fchown(int fd, uid_t u, gid_t g) { FORWARD(int, fchown, NULL, fd, fd, u, g); }
int fchownat(int at, const char *path, uid_t u, gid_t g, int flags) {
    FORWARD(int, fchownat, path, -1, at, path, u, g, flags);
}
int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
    FORWARD(int, utimensat, path, at, at, path, times, flags);
}
int futimens(int fd, const struct timespec times[2]) { FORWARD(int, futimens, NULL, fd, fd, times); }
int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
    FORWARD(int, setxattr, path, -1, path, name, value, size, flags);
}
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
    FORWARD(int, fsetxattr, NULL, fd, fd, name, value, size, flags);
}

int fsync(int fd) { FORWARD(int, fsync, NULL, fd, fd); }
int fdatasync(int fd) { FORWARD(int, fdatasync, NULL, fd, fd); }
int syncfs(int fd) { FORWARD(int, syncfs, NULL, fd, fd); }

int ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    NEXT(ioctl);
    uint64_t number = request == FICLONE ? begin("ioctl(FICLONE)", NULL, fd) : 0;
    int result = next(fd, request, argument);
    end(number);
    return result;
}

/* What is called by number: openat2 where it may write, renameat2 where libc has no name for it. */
long syscall(long call, ...) {
    long a[6];
    va_list list;
    va_start(list, call);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    NEXT(syscall);
    uint64_t number = 0;
    if (call == SYS_openat2 && changes((int)((struct open_how *)a[2])->flags)) number = begin("openat2", (char *)a[1], -1);
    if (call == SYS_renameat2) number = begin("renameat2", (char *)a[3], -1);
    long result = next(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    end(number);
    return result;
}
