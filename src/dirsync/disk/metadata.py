"""Times, permission bits and owners: the only file that sets them.

Bits outside 0o777 are never taken from an entry; those that a file or directory has here already stay.
"""

import errno
import os
import stat
import time

from dirsync.core.entry import PERMISSION_BITS, Entry, File, Symlink
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.reports import Failed
from dirsync.disk.guard import Still
from dirsync.disk.probe import O_READ, lstat_at
from dirsync.disk.root import fingerprint_of
from dirsync.disk.syscalls import O_HANDLE, way_to
from dirsync.limits import RACY_NANOSECONDS

_TRIES = 2
"""What is not as intended then was either changed by somebody right after, or is all that this file system can hold:
only then does it come out the same again."""


def known_after(entry: Entry, present: Fingerprint, *, is_proven: bool) -> Known:
    """Return the index row for what we just put in place, whose content was verified before.

    Where it `is_proven` that nobody wrote to it meanwhile, whoever writes to it from now on changes its time too, so
    the stat proves it from the start, unless the time that was set is itself so young that a write could leave the
    same one. Otherwise it is read again.
    """
    present = present.sharing(entry)
    if not is_proven:
        return Known(entry, present, 0)
    is_telling = present.ctime_ns - present.mtime_ns > RACY_NANOSECONDS
    return Known(entry, present, present.ctime_ns + RACY_NANOSECONDS + 1 if is_telling else present.ctime_ns)


def dress(
    directory: int,
    name: bytes,
    intended: File | Symlink,
    owner: tuple[int, int] | None,
    *,
    is_dressed: bool,
    is_synced: bool,
) -> None:
    """Give a staged file its owner, its time and bits unless it has them, and make it durable if asked to.

    Raises OSError.
    """
    if isinstance(intended, Symlink):
        times = (intended.mtime_ns, intended.mtime_ns)
        if os.utime in os.supports_follow_symlinks:
            os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)
        return
    fd = os.open(name, O_READ, dir_fd=directory)
    try:
        if owner is not None:
            _give_to(fd, owner)
        if not is_dressed:
            dress_open(fd, intended)
        if is_synced:
            os.fsync(fd)
    finally:
        os.close(fd)


def dress_open(fd: int, intended: File) -> Fingerprint:
    """Give an open file its time and bits; return its stat. Raises OSError."""
    bits = intended.mode & PERMISSION_BITS
    os.utime(fd, ns=(intended.mtime_ns, intended.mtime_ns))
    present = fingerprint_of(os.fstat(fd))
    if stat.S_IMODE(present.mode) != bits:
        os.fchmod(fd, bits)
        present = fingerprint_of(os.fstat(fd))
    return present


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


def set_directory_mode(directory: int, name: bytes, mode: int) -> Fingerprint:
    """Give a directory these permission bits; return what is there then. Raises OSError, also for no directory."""
    fd = os.open(name, O_HANDLE, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        bits = stat.S_IMODE(status.st_mode) & ~PERMISSION_BITS | mode & PERMISSION_BITS
        for _ in range(_TRIES):
            os.chmod(way_to(fd), bits)
            present = fingerprint_of(os.fstat(fd))
            if stat.S_IMODE(present.mode) == bits:
                break
        return present
    finally:
        os.close(fd)


def dress_in_place(still: Still, directory: int, name: bytes, intended: File, *, is_synced: bool) -> Known | Failed:
    """Give the file that stands still at `name` its time and bits. Raises OSError."""
    assert still.fd is not None
    bits = stat.S_IMODE(still.fingerprint.mode) & ~PERMISSION_BITS | intended.mode & PERMISSION_BITS
    present = still.fingerprint
    for _ in range(_TRIES):
        if stat.S_IMODE(present.mode) != bits:
            os.chmod(still.way, bits)
        if present.mtime_ns != intended.mtime_ns:
            os.utime(still.way, ns=(time.time_ns(), intended.mtime_ns))
        present = fingerprint_of(lstat_at(directory, name))
        if present.inode != still.fingerprint.inode:
            return Failed("it was changed at the same moment", is_passing=True)
        if (stat.S_IMODE(present.mode), present.mtime_ns) == (bits, intended.mtime_ns):
            break
    known = known_after(intended, present, is_proven=still.is_proven())
    if is_synced:
        still.let_go()  # nobody has to wait for the disk
        _sync(still.fd)
    return known


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
