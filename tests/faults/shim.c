/* A disk that fails on request, for one process: preloaded, it stands between a server and the C library.

   Every call that concerns a file whose path contains one of the words of the rule is counted while the rule is armed.
   From the `first`-th one of the chosen kinds on, `times` of them fail, are cut short, or are the last thing that
   happens: the file systems named in CUT_MOUNTS lose what was not durable, and the process is killed (a power cut).
   The rule lies in the file named by FAULT_RULE, mapped by the server and by the test that writes it (shim.py).

   Not seen: calls that bypass the C library, and memory-mapped files (of SQLite only the index of its log, which
   need not survive). */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

enum kind { OPEN, READ, WRITE, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYMLINK, TRUNCATE, MODE, OWNER, TIMES, FSYNC, SYNCFS, XATTR, CLOSE, READDIR };
enum action { FAIL = 1, SHORT = 2, CUT = 3 };

#define WORDS 4
struct rule {
    _Atomic uint32_t is_armed, count, hits;
    uint32_t kinds, first, times, action, error, is_log_kept;
    char words[WORDS][256];
};

static struct rule *rule;

__attribute__((constructor)) static void load(void)
{
    const char *name = getenv("FAULT_RULE");
    int fd = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    rule = page == MAP_FAILED ? NULL : page;
}

static void path_of(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void cut(void)
{
    char mounts[4096], *rest = mounts, *mount;
    const char *named = getenv("CUT_MOUNTS");
    /* FS_IOC_SHUTDOWN: 1 writes the log out but no data, 2 drops both. */
    uint32_t flag = rule->is_log_kept ? 1 : 2;
    snprintf(mounts, sizeof mounts, "%s", named ? named : "");
    while ((mount = strsep(&rest, ":")) && *mount) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, mount, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || syscall(SYS_ioctl, fd, 0x8004587dUL, &flag) < 0)
            dprintf(2, "cannot cut %s: %s\n", mount, strerror(errno));
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Return 0 where the call is to go on, else the action. */
static int judge(enum kind kind, int directory, const char *name, int fd)
{
    if (!rule || !rule->is_armed || !(rule->kinds & 1u << kind))
        return 0;
    char path[2 * PATH_MAX + 2];
    int before = errno, is_meant = 0;
    path[0] = 0;
    if (name && sscanf(name, "/proc/self/fd/%d", &fd) == 1)
        name = NULL;
    if (fd >= 0)
        path_of(fd, path, sizeof path);
    else if (name && name[0] != '/' && directory != AT_FDCWD)
        path_of(directory, path, PATH_MAX);
    if (name) {
        size_t length = strlen(path);
        snprintf(path + length, sizeof path - length, "%s%s", length ? "/" : "", name);
    }
    errno = before;
    for (int i = 0; i < WORDS; i++)
        is_meant |= rule->words[i][0] && strstr(path, rule->words[i]);
    if (!is_meant)
        return 0;
    uint32_t number = ++rule->count;
    if (number < rule->first || number - rule->first >= rule->times)
        return 0;
    rule->hits++;
    if (rule->action == CUT)
        cut();
    return (int)rule->action;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)
#define STOP(result) do { errno = (int)rule->error; return result; } while (0)
#define CALL(kind, directory, path, fd, failed, ...) \
    do { \
        if (judge(kind, directory, path, fd)) \
            STOP(failed); \
        return real(__VA_ARGS__); \
    } while (0)

#define OPENING(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        CALL(OPEN, AT_FDCWD, path, -1, -1, path, flags, mode); \
    }
#define OPENING_AT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        REAL(int, name, int, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        CALL(OPEN, directory, path, -1, -1, directory, path, flags, mode); \
    }
#define WRITING(name, ...) \
    { \
        int action = judge(WRITE, AT_FDCWD, NULL, fd); \
        if (action == SHORT) \
            size -= size / 2; \
        else if (action) \
            STOP(-1); \
        return real(fd, data, size __VA_ARGS__); \
    }

OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)

ssize_t write(int fd, const void *data, size_t size) { REAL(ssize_t, write, int, const void *, size_t); WRITING(write) }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { REAL(ssize_t, pwrite, int, const void *, size_t, off_t); WRITING(pwrite, , at) }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t); WRITING(pwrite64, , at) }
ssize_t read(int fd, void *data, size_t size) { REAL(ssize_t, read, int, void *, size_t); CALL(READ, AT_FDCWD, NULL, fd, -1, fd, data, size); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { REAL(ssize_t, pread, int, void *, size_t, off_t); CALL(READ, AT_FDCWD, NULL, fd, -1, fd, data, size, at); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { REAL(ssize_t, pread64, int, void *, size_t, off64_t); CALL(READ, AT_FDCWD, NULL, fd, -1, fd, data, size, at); }
int rename(const char *from, const char *to) { REAL(int, rename, const char *, const char *); CALL(RENAME, AT_FDCWD, to, -1, -1, from, to); }
int renameat(int one, const char *from, int two, const char *to) { REAL(int, renameat, int, const char *, int, const char *); CALL(RENAME, two, to, -1, -1, one, from, two, to); }
int renameat2(int one, const char *from, int two, const char *to, unsigned flags) { REAL(int, renameat2, int, const char *, int, const char *, unsigned); CALL(RENAME, two, to, -1, -1, one, from, two, to, flags); }
int link(const char *from, const char *to) { REAL(int, link, const char *, const char *); CALL(LINK, AT_FDCWD, to, -1, -1, from, to); }
int linkat(int one, const char *from, int two, const char *to, int flags) { REAL(int, linkat, int, const char *, int, const char *, int); CALL(LINK, two, to, -1, -1, one, from, two, to, flags); }
int unlink(const char *path) { REAL(int, unlink, const char *); CALL(UNLINK, AT_FDCWD, path, -1, -1, path); }
int unlinkat(int directory, const char *path, int flags) { REAL(int, unlinkat, int, const char *, int); CALL(flags & AT_REMOVEDIR ? RMDIR : UNLINK, directory, path, -1, -1, directory, path, flags); }
int mkdir(const char *path, mode_t mode) { REAL(int, mkdir, const char *, mode_t); CALL(MKDIR, AT_FDCWD, path, -1, -1, path, mode); }
int mkdirat(int directory, const char *path, mode_t mode) { REAL(int, mkdirat, int, const char *, mode_t); CALL(MKDIR, directory, path, -1, -1, directory, path, mode); }
int rmdir(const char *path) { REAL(int, rmdir, const char *); CALL(RMDIR, AT_FDCWD, path, -1, -1, path); }
int symlink(const char *text, const char *path) { REAL(int, symlink, const char *, const char *); CALL(SYMLINK, AT_FDCWD, path, -1, -1, text, path); }
int symlinkat(const char *text, int directory, const char *path) { REAL(int, symlinkat, const char *, int, const char *); CALL(SYMLINK, directory, path, -1, -1, text, directory, path); }
int ftruncate(int fd, off_t size) { REAL(int, ftruncate, int, off_t); CALL(TRUNCATE, AT_FDCWD, NULL, fd, -1, fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(int, ftruncate64, int, off64_t); CALL(TRUNCATE, AT_FDCWD, NULL, fd, -1, fd, size); }
int chmod(const char *path, mode_t mode) { REAL(int, chmod, const char *, mode_t); CALL(MODE, AT_FDCWD, path, -1, -1, path, mode); }
int fchmod(int fd, mode_t mode) { REAL(int, fchmod, int, mode_t); CALL(MODE, AT_FDCWD, NULL, fd, -1, fd, mode); }
int fchmodat(int directory, const char *path, mode_t mode, int flags) { REAL(int, fchmodat, int, const char *, mode_t, int); CALL(MODE, directory, path, -1, -1, directory, path, mode, flags); }
int fchown(int fd, uid_t user, gid_t group) { REAL(int, fchown, int, uid_t, gid_t); CALL(OWNER, AT_FDCWD, NULL, fd, -1, fd, user, group); }
int utimensat(int directory, const char *path, const struct timespec times[2], int flags) { REAL(int, utimensat, int, const char *, const struct timespec *, int); CALL(TIMES, directory, path, -1, -1, directory, path, times, flags); }
int futimens(int fd, const struct timespec times[2]) { REAL(int, futimens, int, const struct timespec *); CALL(TIMES, AT_FDCWD, NULL, fd, -1, fd, times); }
int fsync(int fd) { REAL(int, fsync, int); CALL(FSYNC, AT_FDCWD, NULL, fd, -1, fd); }
int fdatasync(int fd) { REAL(int, fdatasync, int); CALL(FSYNC, AT_FDCWD, NULL, fd, -1, fd); }
int syncfs(int fd) { REAL(int, syncfs, int); CALL(SYNCFS, AT_FDCWD, NULL, fd, -1, fd); }
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) { REAL(int, fsetxattr, int, const char *, const void *, size_t, int); CALL(XATTR, AT_FDCWD, NULL, fd, -1, fd, name, value, size, flags); }

int close(int fd)
{
    REAL(int, close, int);
    int action = judge(CLOSE, AT_FDCWD, NULL, fd);
    int result = real(fd);
    if (action)
        STOP(-1);
    return result;
}

struct dirent64 *readdir64(DIR *directory)
{
    REAL(struct dirent64 *, readdir64, DIR *);
    CALL(READDIR, AT_FDCWD, NULL, dirfd(directory), NULL, directory);
}

struct dirent *readdir(DIR *directory)
{
    REAL(struct dirent *, readdir, DIR *);
    CALL(READDIR, AT_FDCWD, NULL, dirfd(directory), NULL, directory);
}
