"""Times, permission bits and owners: the only file that sets them.

Bits outside 0o777 are never taken from an entry; those that a file or directory has here already stay.
"""

import errno
import os
import stat
import time

from dirsync.core.entry import PERMISSION_BITS, Directory, File, Symlink
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.reports import Failed, Refused
from dirsync.disk.guard import is_same, observe
from dirsync.disk.probe import O_READ, lstat_at
from dirsync.disk.root import fingerprint_of
from dirsync.disk.staging import Staged
from dirsync.disk.syscalls import O_NOFOLLOW, give_back_lease, take_read_lease
from dirsync.limits import RACY_NANOSECONDS

_O_HANDLE = getattr(os, "O_PATH", os.O_RDONLY) | O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)


def known_after(entry: File | Symlink | Directory, present: Fingerprint) -> Known:
    """Return the index row for what we just put in place, whose content was verified before.

    Whoever writes to it from now on changes its time too, so the stat proves it from the start, unless the time
    that was set is itself so young that a write could leave the same one.
    """
    is_telling = present.ctime_ns - present.mtime_ns > RACY_NANOSECONDS
    return Known(entry, present, present.ctime_ns + RACY_NANOSECONDS + 1 if is_telling else present.ctime_ns)


def dress(staged: Staged, intended: File | Symlink, owner: tuple[int, int] | None, *, is_synced: bool) -> None:
    """Give a staged file its time, bits and owner, and make it durable if asked to. Raises OSError."""
    if isinstance(intended, Symlink):
        times = (intended.mtime_ns, intended.mtime_ns)
        if os.utime in os.supports_follow_symlinks:
            os.utime(staged.name, ns=times, dir_fd=staged.directory, follow_symlinks=False)
        return
    fd = os.open(staged.name, O_READ, dir_fd=staged.directory)
    try:
        if owner is not None:
            _give_to(fd, owner)
        os.fchmod(fd, intended.mode & PERMISSION_BITS)
        os.utime(fd, ns=(intended.mtime_ns, intended.mtime_ns))
        if is_synced:
            os.fsync(fd)
    finally:
        os.close(fd)


def owner_at(directory: int, name: bytes) -> tuple[int, int] | None:
    """Return user and group of what stands at `name`, if we are the one who may give files away and it is not ours."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    try:
        status = lstat_at(directory, name)
    except OSError:  # nothing there to take it from; the guard will say so
        return None
    owner = (status.st_uid, status.st_gid)
    return None if owner == (os.geteuid(), os.getegid()) else owner


def set_directory_mode(directory: int, name: bytes, mode: int) -> None:
    """Give a directory these permission bits. Raises OSError, also where `name` is no directory."""
    fd = os.open(name, _O_HANDLE, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _chmod_handle(fd, stat.S_IMODE(status.st_mode) & ~PERMISSION_BITS | mode & PERMISSION_BITS)
    finally:
        os.close(fd)


def dress_in_place(
    directory: int, name: bytes, intended: File, seen: Fingerprint, *, is_synced: bool
) -> Known | Refused | Failed:
    """Give the file that was recognised by `seen` its time and bits. Raises OSError.

    A read lease keeps writers out meanwhile; without one (not ours, or no leases here) the returned row proves
    nothing, so the content is looked at again.
    """
    try:
        fd = os.open(name, O_READ, dir_fd=directory)
    except PermissionError:
        fd = os.open(name, _O_HANDLE, dir_fd=directory)
    has_lease = False
    try:
        if not is_same(os.fstat(fd), seen):
            return Refused(observe(directory, name))
        has_lease = take_read_lease(fd) is True
        if not is_same(os.fstat(fd), seen):
            return Refused(observe(directory, name))
        _set_in_place(fd, intended)
        present = fingerprint_of(os.fstat(fd))
        if is_synced:
            _sync(fd)
    finally:
        if has_lease:
            give_back_lease(fd)
        os.close(fd)
    if fingerprint_of(lstat_at(directory, name)) != present:
        return Failed("it was changed at the same moment")
    return known_after(intended, present) if has_lease else Known(intended, present, 0)


def _set_in_place(fd: int, intended: File) -> None:
    bits = stat.S_IMODE(os.fstat(fd).st_mode)
    if bits & PERMISSION_BITS != intended.mode & PERMISSION_BITS:
        _chmod_handle(fd, bits & ~PERMISSION_BITS | intended.mode & PERMISSION_BITS)
    if os.fstat(fd).st_mtime_ns != intended.mtime_ns:
        os.utime(_path_of(fd), ns=(time.time_ns(), intended.mtime_ns))


def _chmod_handle(fd: int, mode: int) -> None:
    os.chmod(_path_of(fd), mode)


def _path_of(fd: int) -> str | int:
    """Return what leads to the very file behind a descriptor, also one that only names it (O_PATH)."""
    return f"/proc/self/fd/{fd}" if hasattr(os, "O_PATH") else fd


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EBADF:  # an O_PATH descriptor cannot be synced; its directory is
            raise


def _give_to(fd: int, owner: tuple[int, int]) -> None:
    try:
        os.fchown(fd, *owner)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP):  # not every file system has owners
            raise
