"""The kernel calls that Python does not wrap: renameat2, openat2, syncfs, read leases, reflinks.

Each function says what happens where the call does not exist; nobody else knows which platform this is. Raises
OSError as the kernel gives it and decides nothing about files.
"""

import ctypes
import errno
import functools
import os
import signal
import stat
import sys
from contextlib import suppress

if sys.platform == "linux":
    import fcntl

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409
_SYNC_FILE_RANGE_WRITE = 2
_NOT_HERE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})

O_WALK: int = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a directory is opened only to walk through it: needs the right to search it, not to list it."""
O_LIST: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a directory is opened to list or to sync it."""
O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
O_HANDLE: int = getattr(os, "O_PATH", os.O_RDONLY) | O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
"""How something is opened only to name it: needs no right to read it."""
O_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
O_BINARY: int = getattr(os, "O_BINARY", 0)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


@functools.cache
def _libc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    # It is called for openat2 only; to convert each argument anew would take longer than the call.
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t]
    libc.syscall.restype = ctypes.c_long
    return libc


@functools.cache
def _libc_alone() -> ctypes.PyDLL | None:
    """Return the C library for calls during which no other thread of this process runs: for such as never wait."""
    return ctypes.PyDLL(None, use_errno=True) if sys.platform == "linux" else None


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open `path`, at most PATH_MAX long, below `directory`; no link is followed, in no component."""
    if _has_openat2():
        return _openat2(directory, path, flags)
    return _open_by_component(directory, path, flags)


def _open_by_component(directory: int, path: bytes, flags: int) -> int:
    names = path.split(b"/")
    if b".." in names:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    current = directory
    try:
        for index, name in enumerate(names):
            wanted = flags if index == len(names) - 1 else O_WALK
            below = os.open(name, wanted | O_NOFOLLOW, dir_fd=current)
            if current != directory:
                os.close(current)
            current = below
    except OSError:
        if current != directory:
            os.close(current)
        raise
    return current


def give_back(fd: int) -> None:
    """Close a descriptor through which nothing was written: it is closed then, whatever the file system says to it."""
    with suppress(OSError):
        os.close(fd)


def give_back_memory() -> None:
    """Give memory that is not used any more back to the system, where the allocator keeps it and can be asked."""
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))


@functools.cache
def _has_openat2() -> bool:
    """Return whether the kernel has it and no sandbox forbids it."""
    if _libc() is None:
        return False
    here = os.open(os.sep, O_WALK)
    try:
        os.close(_openat2(here, b".", O_WALK))
    except OSError:
        return False
    finally:
        os.close(here)
    return True


@functools.cache
def _how_beneath(flags: int) -> _OpenHow:
    """Return how to open without following any link. Only read, by the kernel, so shared by all threads."""
    return _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)


def _openat2(directory: int, path: bytes, flags: int) -> int:
    libc, how = _libc(), _how_beneath(flags)
    assert libc is not None
    while True:
        result = int(libc.syscall(_SYS_OPENAT2, directory, path, how, ctypes.sizeof(how)))
        if result >= 0:
            return result
        # EAGAIN: a rename elsewhere kept the kernel from proving that the path stays beneath; EINTR as everywhere.
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            _raise_errno()


def _renameat2(source: int, source_name: bytes, target: int, target_name: bytes, flags: int) -> bool:
    """Return False where this kernel or file system does not have it."""
    libc = _libc()
    if libc is None or not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(source, source_name, target, target_name, ctypes.c_uint(flags)) == 0:
        return True
    if ctypes.get_errno() in _NOT_HERE:
        return False
    _raise_errno()
    return False


BESIDE = b".aside"
"""Ends the name beside the first one at which an exchange of several steps may leave what stood at the second."""


def rename_noreplace(source: int, source_name: bytes, target: int, target_name: bytes) -> None:
    """Rename between two directories. Raises FileExistsError where something stands at the target.

    Without RENAME_NOREPLACE a hard link refuses to replace just as well; a directory, or a file system without
    hard links, is checked just before. What somebody put at the source in between stays there; what was linked leaves
    it, also where somebody took it from the target right after.
    """
    if _renameat2(source, source_name, target, target_name, _RENAME_NOREPLACE):
        return
    before = os.stat(source_name, dir_fd=source, follow_symlinks=False)
    if not stat.S_ISDIR(before.st_mode) and _linked(source, source_name, target, target_name):
        moved = {(before.st_dev, before.st_ino), _inode(target, target_name)} - {None}
        if _inode(source, source_name) in moved:  # the last look: after it nothing is called but the removal
            try:
                os.unlink(source_name, dir_fd=source)
            except OSError:
                if {_inode(source, source_name), _inode(target, target_name)} <= moved:
                    os.unlink(target_name, dir_fd=target)  # whoever asked is told that nothing was moved
                raise
        return
    if _exists(target, target_name):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(source_name, target_name, src_dir_fd=source, dst_dir_fd=target)


def rename_exchange(one: int, one_name: bytes, two: int, two_name: bytes) -> None:
    """Exchange what stands at the two names. Raises FileNotFoundError where one is missing.

    Without RENAME_EXCHANGE the second name is never empty where hard links exist and neither is a directory; what it
    held is first linked beside the first name (`BESIDE`), so no content is lost whenever this is interrupted or fails.
    What somebody puts at the second name between that link and the replacement is lost: there is no call that could
    tell.
    """
    if _renameat2(one, one_name, two, two_name, _RENAME_EXCHANGE):
        return
    aside = one_name + BESIDE
    is_linked = not _is_directory(one, one_name) and _linked(two, two_name, one, aside)
    if not is_linked:
        os.rename(two_name, aside, src_dir_fd=two, dst_dir_fd=one)
    try:
        os.replace(one_name, two_name, src_dir_fd=one, dst_dir_fd=two)
    except OSError:
        if is_linked:
            os.unlink(aside, dir_fd=one)
        else:
            rename_noreplace(one, aside, two, two_name)
        raise
    try:
        os.rename(aside, one_name, src_dir_fd=one, dst_dir_fd=one)
    except OSError:
        # Back to where they were, and nothing is replaced before it has another name: either may be an only copy.
        if not _is_directory(two, two_name) and _linked(two, two_name, one, one_name):
            os.replace(aside, two_name, src_dir_fd=one, dst_dir_fd=two)
        else:
            os.rename(two_name, one_name, src_dir_fd=two, dst_dir_fd=one)
            rename_noreplace(one, aside, two, two_name)
        raise


def _linked(source: int, source_name: bytes, target: int, target_name: bytes) -> bool:
    """Make a hard link; return False where the file system has none."""
    try:
        os.link(source_name, target_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EMLINK, *_NOT_HERE):
            return False
        raise
    return True


def _is_directory(directory: int, name: bytes) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _inode(directory: int, name: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def can_rename_between(source: int, target: int) -> bool:
    """Return whether a rename from one directory to the other stays on one mount; nothing is created for it.

    A disk that fails, or is read-only, is no other mount: what the answer decides must not change with its state.
    """
    absent = b".dirsync-" + os.urandom(8).hex().encode()
    try:
        os.rename(absent, absent, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        return error.errno != errno.EXDEV
    return False


def has_sync_file_system() -> bool:
    """Return whether `sync_file_system` can be called here."""
    libc = _libc()
    return libc is not None and hasattr(libc, "syncfs")


def sync_file_system(fd: int) -> None:
    """Make everything on the file system of `fd` durable."""
    libc = _libc()
    assert libc is not None
    if libc.syncfs(fd) != 0:
        _raise_errno()


def begin_writing_out(fd: int, offset: int, size: int) -> None:
    """Have this range of a file begin its way to the disk, where the system can be asked for that.

    Promises nothing, and takes no error away from the sync that does: it does not wait for the writing.
    """
    libc = _libc()
    if libc is not None and hasattr(libc, "sync_file_range"):
        libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def is_open_for_writing(fd: int) -> bool | None:
    """Return whether some program has the regular file behind `fd` (read only) open for writing; None: unknown.

    A read lease is refused then. Who opens the file for writing while one is held waits, and with O_NONBLOCK, as
    `truncate` does, fails: it is given back before any other thread of this process can run.
    """
    has_lease = take_read_lease(fd)
    if has_lease:
        give_back_lease(fd)
    return None if has_lease is None else not has_lease


def take_read_lease(fd: int) -> bool | None:
    """Take a read lease: while it is held nobody can open the file for writing, who tries waits or fails.

    Returns False where some program has it open for writing, None where that cannot be known here. A lease that is
    taken must be given back at once with `give_back_lease`; closing the descriptor does so too.
    """
    libc = _libc_alone()
    # A broken lease is to signal what is ignored, SIGURG: by default it is SIGIO, which would end the process.
    if libc is None or libc.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG) != 0:
        return None
    if libc.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK) == 0:
        return True
    return False if ctypes.get_errno() == errno.EAGAIN else None


def has_read_lease(fd: int) -> bool:
    """Return whether a lease taken before still holds; not so once somebody tries to open the file for writing."""
    libc = _libc_alone()
    return libc is not None and bool(libc.fcntl(fd, fcntl.F_GETLEASE, 0) == fcntl.F_RDLCK)


def give_back_lease(fd: int) -> None:
    """Release a lease taken with `take_read_lease`, if nobody has waited so long that the kernel took it away."""
    libc = _libc_alone()
    if libc is not None:
        libc.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def way_to(handle: int) -> str | int:
    """Return what leads to the very file behind a descriptor opened with O_HANDLE: such a one only names it."""
    return f"/proc/self/fd/{handle}" if hasattr(os, "O_PATH") else handle


def clone(source: int, target: int) -> bool:
    """Make the empty file `target` share the blocks of `source`; False where the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
