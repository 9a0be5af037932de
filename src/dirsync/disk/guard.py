"""The comparison before an apply: whether what is about to be replaced is what was expected there.

Looks only. Its answer holds until the next instruction of somebody else, which is why every swap looks again at
what came out.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dirsync.core.entry import Entry, File, Observed, Problem
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.reports import Failed, Refused
from dirsync.disk.probe import (
    O_READ,
    Settled,
    Unsettled,
    lstat_at,
    observed,
    probe_at,
)
from dirsync.disk.root import fingerprint_of
from dirsync.disk.syscalls import (
    O_HANDLE,
    O_NOFOLLOW,
    give_back_lease,
    has_read_lease,
    is_open_for_writing,
    take_read_lease,
    way_to,
)
from dirsync.limits import UNSETTLED_QUIET_SECONDS

HAS_WRITER = Failed("some program is writing to it", is_passing=True)
_QUIET_NANOSECONDS = int(UNSETTLED_QUIET_SECONDS * 1e9)


@dataclass(frozen=True, slots=True)
class Seen:
    """The expected entry stands there, with this stat. `is_quiet`: who has it open does not write to it any more."""

    fingerprint: Fingerprint
    is_quiet: bool


def check(directory: int, name: bytes, expected: Entry, known: Known | None) -> Seen | Refused | Failed:
    """Compare what stands at `name` with `expected`. Raises OSError.

    A file that some program is writing to right now is left alone; one that only stays open is not.
    """
    seen = compare(directory, name, expected, known)
    is_asked = isinstance(seen, Seen) and isinstance(expected, File) and not seen.is_quiet
    return HAS_WRITER if is_asked and has_writer(directory, name) else seen


def compare(directory: int, name: bytes, expected: Entry, known: Known | None) -> Seen | Refused | Failed:
    """As `check`, for who holds the file still next: whether a program has it open is seen then.

    What a program has open is not read here. That it does not write to it any more is known by the index, if its stat
    proves it; by the clock alone, which may have been set, it could be half of what it is writing.
    """
    try:
        present = lstat_at(directory, name)
    except FileNotFoundError:
        return Refused(None)
    found = probe_at(directory, name, known, present=fingerprint_of(present))
    if isinstance(found, Settled) and not found.is_confirmed:
        found = probe_at(directory, name, known, must_read=True)
    match found:
        case Settled():
            if found.entry != expected:
                return Refused(found.entry)
            if not found.is_confirmed:
                return Failed("it is being changed", is_passing=True)
        case Unsettled():
            return HAS_WRITER if found.has_writer else Failed("it is being changed", is_passing=True)
        case Problem():
            return Failed(found.reason)
        case _:
            return Refused(observed(found))
    return Seen(found.fingerprint, _is_quiet(present))


def check_absent(directory: int, name: bytes, known: Known | None) -> Refused | None:
    """Return a refusal where something stands at `name`. Raises OSError."""
    found = observe(directory, name, known)
    return None if found is None else Refused(found)


def observe(directory: int, name: bytes, known: Known | None = None) -> Observed:
    """Return what stands at `name` now."""
    return observed(probe_at(directory, name, known))


def is_same(status: os.stat_result, seen: Fingerprint) -> bool:
    """Return whether this is the object that was seen, unchanged; a rename changes its ctime, so that is left out."""
    now = fingerprint_of(status)
    return (now.inode, now.size, now.mtime_ns, now.mode) == (seen.inode, seen.size, seen.mtime_ns, seen.mode)


class Still:
    """A file or link that stands still: no program can write to it in place, as far as this platform can see to that.

    `fd` names it wherever it is moved; None for a link, whose text cannot be changed in place. `way` is for what
    cannot be done by a descriptor that only names the file. `fingerprint` is its stat at the beginning, when it had
    so many `names`, hard links: what is changed in place changes under all of them. `has_writer`: some program had it
    open for writing.
    """

    __slots__ = ("_has_lease", "fd", "fingerprint", "has_writer", "names", "way")

    def __init__(self, directory: int, name: bytes, known: Fingerprint | None) -> None:
        self.fd, self.way = _opened_still(directory, name)
        try:
            has_lease = None if self.fd is None else take_read_lease(self.fd)
            if known is None:
                status = lstat_at(directory, name) if self.fd is None else os.fstat(self.fd)
                self.fingerprint, self.names = fingerprint_of(status), status.st_nlink
            else:
                self.fingerprint, self.names = known, 1
        except OSError:
            self.close()
            raise
        self._has_lease, self.has_writer = has_lease is True, has_lease is False

    def is_proven(self) -> bool:
        """Return whether certainly nobody wrote to it since the block began."""
        return self.fd is None or (self._has_lease and has_read_lease(self.fd))

    def close(self) -> None:
        """Give the descriptor back, and with it the lease."""
        if self.fd is not None:
            os.close(self.fd)

    def let_go(self) -> None:
        """Let programs write to it from now on; what was not proven before is not any more."""
        if self.fd is not None and self._has_lease:
            give_back_lease(self.fd)
            self._has_lease = False


@contextmanager
def held_still(directory: int, name: bytes, known: Fingerprint | None = None) -> Iterator[Still]:
    """Keep programs from writing to a file in place until the block ends; they wait as long. Raises OSError.

    So only for a few system calls. A program that had it open before is not kept out: then nothing is proven. `known`
    is the stat of a file of our own, with this one name, that nobody else could reach since.
    """
    still = Still(directory, name, known)
    try:
        yield still
    finally:
        still.close()


def _opened_still(directory: int, name: bytes) -> tuple[int | None, int | str]:
    """Open what stands there, None for a link; also return the way to it."""
    try:
        if O_NOFOLLOW or not _is_link(directory, name):
            fd = os.open(name, O_READ, dir_fd=directory)
            return fd, fd
    except PermissionError:
        fd = os.open(name, O_HANDLE, dir_fd=directory)
        return fd, way_to(fd)
    except OSError:
        if not _is_link(directory, name):
            raise
    return None, -1


def _is_link(directory: int, name: bytes) -> bool:
    return stat.S_ISLNK(lstat_at(directory, name).st_mode)


def _is_quiet(status: os.stat_result) -> bool:
    return time.time_ns() - status.st_ctime_ns > _QUIET_NANOSECONDS


def has_writer(directory: int, name: bytes) -> bool:
    """Return whether a program has a file open for writing; not where it cannot be read, or is none any more.

    Whoever goes on with it then finds that out.
    """
    try:
        fd = os.open(name, O_READ, dir_fd=directory)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and bool(is_open_for_writing(fd))
    finally:
        os.close(fd)
