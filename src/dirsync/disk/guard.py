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
)
from dirsync.limits import UNSETTLED_QUIET_SECONDS

_QUIET_NANOSECONDS = int(UNSETTLED_QUIET_SECONDS * 1e9)


@dataclass(frozen=True, slots=True)
class Seen:
    """The expected entry stands there, with this stat."""

    fingerprint: Fingerprint


def check(directory: int, name: bytes, expected: Entry, known: Known | None) -> Seen | Refused | Failed:
    """Compare what stands at `name` with `expected`. Raises OSError.

    A file that some program is writing to right now is left alone; one that only stays open is not.
    """
    try:
        is_quiet = _is_quiet(lstat_at(directory, name))
    except FileNotFoundError:
        return Refused(None)
    found = probe_at(directory, name, known, is_forced=is_quiet)
    if isinstance(found, Settled) and not found.is_confirmed:
        found = probe_at(directory, name, known, is_forced=is_quiet, must_read=True)
    match found:
        case Settled():
            if found.entry != expected:
                return Refused(found.entry)
            if not found.is_confirmed:
                return Failed("it is being changed", is_passing=True)
        case Unsettled():
            reason = "some program is writing to it" if found.has_writer else "it is being changed"
            return Failed(reason, is_passing=True)
        case Problem():
            return Failed(found.reason)
        case _:
            return Refused(observed(found))
    if isinstance(expected, File) and not is_quiet and _has_writer(directory, name):
        return Failed("some program is writing to it", is_passing=True)
    return Seen(found.fingerprint)


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

    `fd` names it wherever it is moved; None for a link, whose text cannot be changed in place.
    """

    __slots__ = ("_has_lease", "fd")

    def __init__(self, fd: int | None) -> None:
        self.fd = fd
        self._has_lease = fd is not None and take_read_lease(fd) is True

    def was(self, seen: Fingerprint) -> bool:
        """Return whether this is the file that was seen, unchanged since."""
        return self.fd is not None and fingerprint_of(os.fstat(self.fd)) == seen

    def has_other_names(self) -> bool:
        """Return whether it has further hard links: what is changed in place changes under all of them."""
        return self.fd is not None and os.fstat(self.fd).st_nlink > 1

    def is_proven(self) -> bool:
        """Return whether certainly nobody wrote to it since the block began."""
        return self.fd is None or (self._has_lease and has_read_lease(self.fd))

    def let_go(self) -> None:
        """Let programs write to it from now on; what was not proven before is not any more."""
        if self.fd is not None and self._has_lease:
            give_back_lease(self.fd)
            self._has_lease = False


@contextmanager
def held_still(directory: int, name: bytes) -> Iterator[Still]:
    """Keep programs from writing to a file in place until the block ends; they wait as long. Raises OSError.

    So only for a few system calls. A program that had it open before is not kept out: then nothing is proven.
    """
    fd = _opened_still(directory, name)
    try:
        yield Still(fd)
    finally:
        if fd is not None:
            os.close(fd)  # gives the lease back


def _opened_still(directory: int, name: bytes) -> int | None:
    """Open what stands there; None for a link."""
    try:
        if O_NOFOLLOW or not _is_link(directory, name):
            return os.open(name, O_READ, dir_fd=directory)
    except PermissionError:
        return os.open(name, O_HANDLE, dir_fd=directory)
    except OSError:
        if not _is_link(directory, name):
            raise
    return None


def _is_link(directory: int, name: bytes) -> bool:
    return stat.S_ISLNK(lstat_at(directory, name).st_mode)


def _is_quiet(status: os.stat_result) -> bool:
    return time.time_ns() - status.st_ctime_ns > _QUIET_NANOSECONDS


def _has_writer(directory: int, name: bytes) -> bool:
    try:
        fd = os.open(name, O_READ, dir_fd=directory)
    except OSError:  # not readable by us, or no file any more: then the swap itself will tell
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and bool(is_open_for_writing(fd))
    finally:
        os.close(fd)
