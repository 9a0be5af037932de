"""Paths that are being changed: when to look again, and when to take them as they are.

Owns the patience with writers. A file that stays open but quiet is taken after a second; one that only grows is
sampled every few seconds; the wait is announced once.
"""

from dataclasses import dataclass

from dirsync.core.fingerprint import Fingerprint
from dirsync.core.listing import Standing
from dirsync.core.paths import RelPath
from dirsync.disk.probe import Unsettled
from dirsync.limits import UNSETTLED_NOTICE_SECONDS, UNSETTLED_QUIET_SECONDS, UNSETTLED_SAMPLE_SECONDS
from dirsync.replica.looking import LARGE_BYTES

_AGAIN_FIRST_SECONDS = 0.01
_AGAIN_MAX_SECONDS = 0.2
_AGAIN_LARGE_SECONDS = 1.0
"""A large file that changed while it was read is not read again at once."""


@dataclass(slots=True)
class _Record:
    first: float
    found: Fingerprint
    standing: Standing
    quiet_since: float
    sampled: float
    due: float
    delay: float = _AGAIN_FIRST_SECONDS
    only_grows: bool = True
    is_noticed: bool = False


class UnsettledPaths:
    """What is known of each path that does not hold still. Times are the event loop's."""

    def __init__(self) -> None:
        self._records: dict[RelPath, _Record] = {}

    def __contains__(self, path: RelPath) -> bool:
        return path in self._records

    def standings(self) -> tuple[tuple[RelPath, Standing | None], ...]:
        """Return the paths with what a listing may show of them."""
        return tuple((path, record.standing) for path, record in self._records.items())

    def note(self, path: RelPath, found: Unsettled, now: float) -> float:
        """Take note of a look that found it changing; return when to look again."""
        record = self._records.get(path)
        if record is None:
            record = _Record(now, found.fingerprint, found.standing, now, now, now)
            self._records[path] = record
        elif found.fingerprint != record.found:
            before = record.found
            is_grown = found.fingerprint.inode == before.inode and found.fingerprint.size > before.size
            record.only_grows = record.only_grows and is_grown
            record.found, record.standing = found.fingerprint, found.standing
            record.quiet_since = now
            if found.has_writer and now - record.due > UNSETTLED_QUIET_SECONDS:
                # The disk has held the look up: what became of the file meanwhile nobody saw, nor who writes now.
                record.sampled = now
        delay = record.delay
        record.delay = min(delay * 2, _AGAIN_MAX_SECONDS)
        if found.fingerprint.size > LARGE_BYTES and not found.has_writer:
            delay = _AGAIN_LARGE_SECONDS
        record.due = now + delay
        return record.due

    def is_notice_due(self, path: RelPath, now: float) -> bool:
        """Return whether the wait is to be announced now; True once."""
        record = self._records[path]
        if record.is_noticed or now - record.first < UNSETTLED_NOTICE_SECONDS:
            return False
        record.is_noticed = True
        return True

    def quiet_state(self, path: RelPath, now: float) -> Fingerprint | None:
        """Return what the file must still be for the next look to take it although somebody has it open."""
        record = self._records.get(path)
        is_quiet = record is not None and now - record.quiet_since >= UNSETTLED_QUIET_SECONDS
        return record.found if record is not None and is_quiet else None

    def is_to_be_sampled(self, path: RelPath, now: float) -> bool:
        """Return whether the next look takes the file as it is then, because it only grows."""
        record = self._records.get(path)
        return record is not None and record.only_grows and now - record.sampled >= UNSETTLED_SAMPLE_SECONDS

    def sampled(self, path: RelPath, now: float) -> float:
        """Take note that a growing file was taken as it was; return when to look again."""
        record = self._records[path]
        record.sampled = record.quiet_since = now
        record.due = now + _AGAIN_MAX_SECONDS
        return record.due

    def settled(self, path: RelPath) -> None:
        """Forget a path that holds still, or is gone."""
        self._records.pop(path, None)

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
