"""What a worker thread does for a batch of looks: probe each path, and recognise what was only renamed.

Owns the order within a batch. It returns values and changes nothing; what they mean is decided on the event loop.
"""

import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dirsync.core.entry import PERMISSION_BITS, Entry, File, Problem, permissions
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.disk.probe import Gone, Probe, Settled, lstat_at, probe
from dirsync.disk.root import Parents, Root, fingerprint_of
from dirsync.errors import DiskError
from dirsync.limits import RACY_NANOSECONDS

LARGE_BYTES = 8 * 1024 * 1024
"""A file above this is read in a job of its own, so that nothing small waits for it."""
_TOLD_NANOSECONDS = RACY_NANOSECONDS + 1_000_000
"""Of a change that is older than this, the stat tells for certain whether anything came after it."""
_BATCH_READ_BYTES = 32 * 1024 * 1024
"""What one batch reads at most; the rest of it is looked at in the next."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A held path: a state other than `last`, of at most `room` bytes, is copied to `file` while it is read."""

    file: Path
    last: Entry | None
    room: int


class Ask(NamedTuple):
    """One path to look at. `quiet` is the stat that a file which is open for writing has had for long enough."""

    path: RelPath
    known: Known | None
    is_forced: bool = False
    must_read: bool = False
    capture: Capture | None = None
    quiet: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A new name of the very file that was known at `source`, which is not there any more; it was not read."""

    source: RelPath
    settled: Settled


@dataclass(frozen=True, slots=True)
class Large:
    """A large file: it wants a job of its own, after so many seconds, when one reading will be enough."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class NotYet:
    """The batch had read enough before it came to this path."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A held path has another state, and no room is left to capture it."""


Outcome = Probe | Moved | Large | NotYet | NoRoom

Vanished = Callable[[int], tuple[RelPath, Known] | None]
"""Which vanished path had this inode, and what was known of it."""


def look_at(root: Root, asks: Sequence[Ask], vanished: Vanished, is_content_wanted: bool) -> list[Outcome]:
    """Look at each path; the outcomes are in the order of `asks`. Raises RootLost.

    Paths that were known come first: where one of them is gone, its file may turn up under one of the new names.
    """
    parents = Parents(root)
    batch = _Batch(parents, vanished, is_content_wanted)
    outcomes: dict[RelPath, Outcome] = {}
    try:
        for ask in sorted(asks, key=lambda ask: ask.known is None):
            outcomes[ask.path] = batch.look(ask)
    finally:
        parents.close()
    if any(isinstance(outcome, Gone) for outcome in outcomes.values()):
        root.verify()
    return [outcomes[ask.path] for ask in asks]


def look_alone(root: Root, ask: Ask, is_content_wanted: bool, *, may_wait: bool) -> Probe | NoRoom | Large:
    """Look at one path, however large; where it `may_wait`, not at what was changed just now. Raises RootLost."""
    parents = Parents(root)
    try:
        present = _status(parents, ask.path)
        if may_wait and present is not None and (seconds := _seconds_until_told(present)) > 0:
            return Large(seconds)
        outcome = _probe(parents, ask, is_content_wanted, present)
    finally:
        parents.close()
    if isinstance(outcome, Gone):
        root.verify()
    return outcome


class _Batch:
    def __init__(self, parents: Parents, vanished: Vanished, is_content_wanted: bool) -> None:
        self._parents = parents
        self._vanished = vanished
        self._is_content_wanted = is_content_wanted
        self._gone: dict[int, tuple[RelPath, Known]] = {}
        self._bytes_left = _BATCH_READ_BYTES

    def look(self, ask: Ask) -> Outcome:
        present = _status(self._parents, ask.path)
        if present is not None and stat.S_ISREG(present.mode):
            early = self._without_reading(ask, present)
            if early is not None:
                return early
        outcome = _probe(self._parents, ask, self._is_content_wanted, present)
        if isinstance(outcome, Gone) and ask.known is not None and isinstance(ask.known.entry, File):
            self._gone[ask.known.fingerprint.inode] = (ask.path, ask.known)
        return outcome

    def _without_reading(self, ask: Ask, present: Fingerprint) -> Outcome | None:
        """Return what needs no reading, or no reading here; None where the file is to be read in this batch."""
        if ask.known is not None and ask.known.is_proven_by(present) and not ask.must_read:
            return None  # the probe will not read it either
        if ask.known is None and ask.capture is None:
            source = self._gone.get(present.inode) or self._vanished(present.inode)
            if source is not None and _is_same_file(source[1], present):
                return Moved(source[0], _taken_over(source[1], present))
        if present.size > LARGE_BYTES:
            return Large(_seconds_until_told(present))
        if self._bytes_left <= 0:
            return NotYet()
        self._bytes_left -= present.size
        return None


def _probe(parents: Parents, ask: Ask, is_content_wanted: bool, present: Fingerprint | None = None) -> Probe | NoRoom:
    if ask.capture is not None:
        return _probe_held(parents, ask, ask.capture)
    return probe(
        parents,
        ask.path,
        ask.known,
        is_content_wanted=is_content_wanted,
        is_forced=ask.is_forced,
        must_read=ask.must_read,
        quiet=ask.quiet,
        present=present,
    )


def _probe_held(parents: Parents, ask: Ask, capture: Capture) -> Probe | NoRoom:
    present = _status(parents, ask.path)
    is_last = ask.known is not None and ask.known.entry == capture.last and not ask.must_read
    if is_last and ask.known is not None and present is not None and ask.known.is_proven_by(present):
        return Settled(ask.known.entry, ask.known.fingerprint, ask.known.looked_ns, None, is_confirmed=True)
    if present is not None and stat.S_ISREG(present.mode) and present.size > capture.room:
        return NoRoom()
    try:
        found = probe(
            parents,
            ask.path,
            ask.known,
            is_content_wanted=True,
            capture_to=capture.file,
            is_forced=ask.is_forced,
            quiet=ask.quiet,
        )
    except DiskError as error:
        return Problem(str(error))
    if isinstance(found, Settled) and found.entry == capture.last:
        with suppress(OSError):  # the next start removes what no row names
            capture.file.unlink()
    return found


def _status(parents: Parents, path: RelPath) -> Fingerprint | None:
    """Return the stat of a path; None where there is none, and the probe says why."""
    try:
        return fingerprint_of(lstat_at(*parents.place_of(path)))
    except OSError:
        return None


def _seconds_until_told(present: Fingerprint) -> float:
    """Return how long a reading would still prove nothing: the last change is as young as the clock's grain."""
    age_ns = time.time_ns() - max(present.mtime_ns, present.ctime_ns)
    return min(max(_TOLD_NANOSECONDS - age_ns, 0), _TOLD_NANOSECONDS) / 1e9


def _is_same_file(known: Known, present: Fingerprint) -> bool:
    before = known.fingerprint
    return (present.inode, present.size, present.mtime_ns) == (before.inode, before.size, before.mtime_ns) and (
        known.looked_ns - before.mtime_ns > RACY_NANOSECONDS
    )


def _taken_over(known: Known, present: Fingerprint) -> Settled:
    """Return the known content under the present stat. `looked_ns` is 0: no stat proves it until it was read."""
    assert isinstance(known.entry, File)
    bits = permissions(present.mode)
    is_same_mode = bits == known.fingerprint.mode & PERMISSION_BITS
    entry = known.entry if is_same_mode else known.entry._replace(mode=bits)
    return Settled(entry, present, 0, None, is_confirmed=False)
