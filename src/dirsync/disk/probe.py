"""Looks at one path now: what stands there, read so that it cannot be torn.

Stat, read, stat: what changed in between is Unsettled and read again later. Never opens anything but regular
files, never follows a link, and decides nothing about what a change means.
"""

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dirsync.core.entry import (
    PERMISSION_BITS,
    Directory,
    Entry,
    File,
    Observed,
    Problem,
    Symlink,
    Untracked,
    permissions,
)
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.listing import Standing
from dirsync.core.paths import RelPath
from dirsync.disk.copying import CopyFile
from dirsync.disk.reading import Reading, read_whole
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Parents, Root, fingerprint_of
from dirsync.disk.syscalls import O_BINARY, O_NOFOLLOW, O_NONBLOCK, is_open_for_writing
from dirsync.limits import INLINE_BYTES_MAX, MTIME_NANOSECONDS_MAX, MTIME_NANOSECONDS_MIN, RACY_NANOSECONDS

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
O_READ: int = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_BINARY | getattr(os, "O_CLOEXEC", 0)


class Settled(NamedTuple):
    """What stands there, whole. `content` where it was wanted and is small.

    `looked_ns` is the wall clock when this reading began. Not confirmed: the digest is taken over from what was
    known (same inode, size and time, other bits), or is that of a file as long as it was when a writer went on.
    """

    entry: Entry
    fingerprint: Fingerprint
    looked_ns: int
    content: bytes | None
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing stands there, or nothing can: a parent is missing or no directory."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """It changed while it was read, or some program has it open for writing."""

    fingerprint: Fingerprint
    standing: Standing
    has_writer: bool


Probe = Settled | Gone | Unsettled | Untracked | Problem


class _Wishes(NamedTuple):
    is_content_wanted: bool
    capture_to: Path | None
    is_forced: bool
    must_read: bool
    quiet: Fingerprint | None = None
    present: Fingerprint | None = None


def probe(
    root: Root | Parents,
    path: RelPath,
    known: Known | None,
    *,
    is_content_wanted: bool = False,
    capture_to: Path | None = None,
    is_forced: bool = False,
    must_read: bool = False,
    quiet: Fingerprint | None = None,
    present: Fingerprint | None = None,
) -> Probe:
    """Look at `path`. What `known` proves unchanged by stat alone is not read, unless `must_read` or captured.

    `is_forced` reads a file although a program has it open for writing, and takes one that only grew meanwhile as
    long as it was at the start; `quiet` reads such a file only if that is still its stat. `present` is its stat, where
    the caller has just taken it. `capture_to` receives the
    very bytes that were hashed, durable, mode 0600; it is there afterwards only if a File is Settled. Raises
    DiskError where it cannot be written; what goes wrong at `path` itself is a value.
    """
    wishes = _Wishes(is_content_wanted, capture_to, is_forced, must_read or capture_to is not None, quiet, present)
    try:
        if isinstance(root, Parents):
            return _look(*root.place_of(path), known, wishes)
        with root.parent_of(path) as (directory, name):
            return _look(directory, name, known, wishes)
    except OSError as error:
        return Gone() if error.errno in _ABSENT else Problem(reason_of(error))


def probe_at(
    directory: int,
    name: bytes,
    known: Known | None,
    *,
    is_forced: bool = False,
    must_read: bool = False,
    present: Fingerprint | None = None,
) -> Probe:
    """Look at `name` in an open directory; otherwise as `probe`."""
    try:
        return _look(directory, name, known, _Wishes(False, None, is_forced, must_read, None, present))
    except OSError as error:
        return Gone() if error.errno in _ABSENT else Problem(reason_of(error))


def observed(found: Probe) -> Observed:
    """Return the probe as an observation; what is unsettled is a problem that passes."""
    match found:
        case Settled():
            return found.entry
        case Gone():
            return None
        case Unsettled():
            return Problem("it is being changed")
        case _:
            return found


def lstat_at(directory: int, name: bytes) -> os.stat_result:
    """Return the stat of `name` itself, links not followed."""
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def carried_mtime(mtime_ns: int) -> int:
    """Return the nearest time that a message can carry."""
    return min(max(mtime_ns, MTIME_NANOSECONDS_MIN), MTIME_NANOSECONDS_MAX)


def _look(directory: int, name: bytes, known: Known | None, wishes: _Wishes) -> Probe:
    looked_ns = time.time_ns()
    present = wishes.present or fingerprint_of(lstat_at(directory, name))
    if known is not None and not wishes.must_read and known.is_proven_by(present):
        return Settled(known.entry, known.fingerprint, known.looked_ns, None, is_confirmed=True)
    if stat.S_ISDIR(present.mode):
        _try_to_list(directory, name)
        return Settled(Directory(_mode(present, known)), present, looked_ns, None, is_confirmed=True)
    if stat.S_ISLNK(present.mode):
        return _read_link(directory, name, present, looked_ns)
    if not stat.S_ISREG(present.mode):
        return Untracked(_kind(present.mode))
    if present.mtime_ns != carried_mtime(present.mtime_ns):
        return Problem("its modification time is out of range; give it another one, for example with touch")
    if known is not None and not wishes.must_read and _has_only_new_bits(known, present):
        assert isinstance(known.entry, File)
        entry = known.entry._replace(mode=_mode(present, known))
        return Settled(entry, present, looked_ns, None, is_confirmed=False)
    return _read_file(_Target(directory, name, known, looked_ns, wishes), present)


def _try_to_list(directory: int, name: bytes) -> None:
    """Raise OSError where what lies in a directory cannot be seen: its bits must not lock the other side out too."""
    fd = os.open(name, O_READ, dir_fd=directory)
    try:
        os.stat(b".", dir_fd=fd)
    finally:
        os.close(fd)


def _mode(present: Fingerprint, known: Known | None) -> int:
    """Return the permission bits; those that were intended where this file system could not hold them."""
    mode = permissions(present.mode)
    if (
        known is not None
        and isinstance(known.entry, File | Directory)
        and stat.S_IFMT(present.mode) == stat.S_IFMT(known.fingerprint.mode)
        and mode == known.fingerprint.mode & PERMISSION_BITS
    ):
        return known.entry.mode
    return mode


def _mtime(present: Fingerprint, known: Known | None) -> int:
    """Return the time; the one that was intended where this file system stores it more coarsely."""
    if known is not None and isinstance(known.entry, File) and present.mtime_ns == known.fingerprint.mtime_ns:
        return known.entry.mtime_ns
    return present.mtime_ns


def _has_only_new_bits(known: Known, present: Fingerprint) -> bool:
    before = known.fingerprint
    return (
        isinstance(known.entry, File)
        and (present.inode, present.size, present.mtime_ns) == (before.inode, before.size, before.mtime_ns)
        and present.mode & PERMISSION_BITS != before.mode & PERMISSION_BITS
        and known.looked_ns - before.mtime_ns > RACY_NANOSECONDS
    )


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO is not synchronised"
    if stat.S_ISSOCK(mode):
        return "a socket is not synchronised"
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        return "a device is not synchronised"
    return "something of this kind is not synchronised"


def untracked_reason(mode: int) -> str | None:
    """Return why something of this st_mode is not carried; None where it is."""
    is_carried = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
    return None if is_carried else _kind(mode)


def _unsettled(present: Fingerprint, *, has_writer: bool) -> Unsettled:
    return Unsettled(present, Standing(present.size, carried_mtime(present.mtime_ns)), has_writer)


def _read_link(directory: int, name: bytes, present: Fingerprint, looked_ns: int) -> Probe:
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return _unsettled(present, has_writer=False)
        raise
    after = fingerprint_of(lstat_at(directory, name))
    if after != present:
        return _unsettled(after, has_writer=False)
    return Settled(Symlink(target, carried_mtime(present.mtime_ns)), present, looked_ns, None, is_confirmed=True)


class _Target(NamedTuple):
    directory: int
    name: bytes
    known: Known | None
    looked_ns: int
    wishes: _Wishes


def _read_file(target: _Target, before: Fingerprint) -> Probe:
    """Read the file that had the stat `before` when it was looked at by its name; anything else is Unsettled."""
    try:
        fd = os.open(target.name, O_READ, dir_fd=target.directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a FIFO took its place since the stat
            return _unsettled(before, has_writer=False)
        raise
    try:
        has_writer = bool(is_open_for_writing(fd))
        if has_writer and not target.wishes.is_forced and before != target.wishes.quiet:
            return _unsettled(before, has_writer=True)
        if target.wishes.capture_to is not None:
            return _read_and_capture(target, fd, before, target.wishes.capture_to)
        content_bytes_max = INLINE_BYTES_MAX if target.wishes.is_content_wanted else -1
        return _judge(target, fd, before, read_whole(fd, before.size, content_bytes_max))
    except OSError:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise
        return _unsettled(before, has_writer=False)  # something else had taken its place when it was opened
    finally:
        os.close(fd)


def _judge(target: _Target, fd: int, before: Fingerprint, reading: Reading) -> Probe:
    """Settle what was read, if it is still the same.

    A writer may have come since; what it wrote shows in the stat, unless the last change before is as young. Then it
    is asked for, and one that has gone again shows in the content, which is read once more.
    """
    # The stat before was of the name: the same now is of the very file that stood there, and was not changed since.
    after = fingerprint_of(os.fstat(fd))
    is_forced, is_quiet = target.wishes.is_forced, before == target.wishes.quiet
    is_told = target.looked_ns - max(before.mtime_ns, before.ctime_ns) > RACY_NANOSECONDS
    is_same = before == after and reading.size == before.size
    if is_same and (is_forced or is_quiet or is_told or (not is_open_for_writing(fd) and _is_still(fd, reading))):
        entry = File(reading.digest, before.size, _mtime(before, target.known), _mode(before, target.known))
        return Settled(entry, before, target.looked_ns, reading.content, is_confirmed=True)
    named = fingerprint_of(lstat_at(target.directory, target.name))
    is_grown = named.inode == before.inode and named.size > before.size == reading.size
    if is_forced and is_grown:
        entry = File(reading.digest, before.size, before.mtime_ns, permissions(before.mode))
        return Settled(entry, before, target.looked_ns, reading.content, is_confirmed=False)
    return _unsettled(named, has_writer=bool(is_open_for_writing(fd)))


def _is_still(fd: int, reading: Reading) -> bool:
    """Return whether a content is there as it was read: whole, if nobody writes to it now."""
    return read_whole(fd, reading.size).digest == reading.digest


def _read_and_capture(target: _Target, fd: int, before: Fingerprint, copy: Path) -> Probe:
    with CopyFile(copy) as sink:
        content_bytes_max = INLINE_BYTES_MAX if target.wishes.is_content_wanted else -1
        found = _judge(target, fd, before, read_whole(fd, before.size, content_bytes_max, sink))
        if isinstance(found, Settled):
            sink.keep()
        return found
