"""The reports of a near replica on their way to the coordinator.

Owns their order, and what supersedes what: while nobody takes them, a path's later state replaces an earlier one, so
the memory they need is bounded by the number of paths. Captures are never superseded.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from dirsync.core.entry import File
from dirsync.core.paths import RelPath
from dirsync.core.reports import DROPPED, Back, Change, Lost, Report
from dirsync.limits import BATCH_BYTES_MAX, PENDING_INLINE_BYTES_MAX


class _Waiting(NamedTuple):
    report: Report
    since: float
    serial: int = 0


_Key = tuple[int, RelPath] | int
"""A path's report since the last turn of the root, or the number of a report that is never superseded."""


class Outbox:
    """Reports in order, for one taker at a time."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, _Waiting] = {}
        self._number = 0
        self._turns = 0
        self._taken = 0
        self.serial = 0
        """How many states were reported since the start of the server."""
        self._bytes = 0
        self._is_open = False
        self._has_some = asyncio.Event()

    @property
    def reported(self) -> int:
        """How many reports there were since the snapshot; whoever took so many knows everything reported so far."""
        return self._taken + len(self._waiting)

    def change(self, change: Change, since: float) -> None:
        """Report a state; an earlier one of the path that still waits is forgotten. `since`: loop time of detection."""
        if not self._is_open:
            return
        key = (self._turns, change.path)
        before = self._waiting.get(key)
        if before is not None:
            # To the end, so that reports come by their serials.
            self._remove(key)
            change = _with_content_of(before.report, change)
        if change.content is not None and self._bytes + len(change.content) > PENDING_INLINE_BYTES_MAX:
            change = replace(change, content=None)
        self._add_state(key, change, since)

    def capture(self, change: Change, since: float) -> None:
        """Report a captured state, after everything before it."""
        if self._is_open:
            self._number += 1
            self._add_state(self._number, change, since)

    def turn(self, report: Lost | Back) -> None:
        """Report that the root was lost or is back."""
        self._number += 1
        self._turns += 1
        self._add(self._number, _Waiting(report, 0.0))

    def restart(self) -> None:
        """Forget the states that wait: a snapshot says them all. Before the first one no state is worth reporting.

        That the root came back is told all the same: that it was lost may be on its way, or read already, and whether
        it is another one is in no snapshot.
        """
        self._is_open = True
        self._waiting = {key: waiting for key, waiting in self._waiting.items() if isinstance(waiting.report, Back)}
        self._bytes = 0
        self._taken = 0
        if not self._waiting:
            self._has_some.clear()

    def drop_captures(self, path: RelPath) -> None:
        """Make the captures of a path that wait say nothing any more: what they report may have been replaced since."""
        for key, waiting in self._waiting.items():
            report = waiting.report
            if isinstance(key, int) and isinstance(report, Change) and report.path == path:
                # Not removed: `reported` has counted it, and what is counted is taken some time.
                self._bytes -= _content_bytes(report)
                self._waiting[key] = waiting._replace(report=replace(report, found=DROPPED, content=None))

    async def wait(self) -> None:
        """Wait until there is something to take."""
        await self._has_some.wait()

    async def take(self) -> Sequence[Report]:
        """Wait for reports and return them, at most about BATCH_BYTES_MAX of content at once.

        Nothing is awaited once they are taken: they are in the taker's hand, or here.
        """
        await self._has_some.wait()
        now = asyncio.get_running_loop().time()
        taken: list[Report] = []
        keys = []
        size = 0
        for key, waiting in self._waiting.items():
            size += _content_bytes(waiting.report)
            if taken and size > BATCH_BYTES_MAX:
                break
            keys.append(key)
            taken.append(_as_told(waiting, now))
        for key in keys:
            self._remove(key)
        self._taken += len(taken)
        return taken

    def _add_state(self, key: _Key, change: Change, since: float) -> None:
        self.serial += 1
        self._add(key, _Waiting(change, since, self.serial))

    def _add(self, key: _Key, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        self._bytes += _content_bytes(waiting.report)
        self._has_some.set()

    def _remove(self, key: _Key) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._bytes -= _content_bytes(waiting.report)
            if not self._waiting:
                self._has_some.clear()


def _as_told(waiting: _Waiting, now: float) -> Report:
    report = waiting.report
    if not isinstance(report, Change):
        return report
    return replace(report, age_ms=(now - waiting.since) * 1000, serial=waiting.serial)


def _with_content_of(before: Report, change: Change) -> Change:
    """Return the change with the content that the earlier one would have brought, if it still is that."""
    if change.content is None and isinstance(before, Change):
        old, new = before.found, change.found
        if isinstance(old, File) and isinstance(new, File) and old.digest == new.digest:
            return replace(change, content=before.content)
    return change


def _content_bytes(report: Report) -> int:
    return len(report.content) if isinstance(report, Change) and report.content is not None else 0
