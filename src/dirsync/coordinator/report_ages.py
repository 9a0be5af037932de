"""Which of two is the later: what a replica reported of a path, or what was applied to it there.

A report and the result of an apply may pass each other on the way, in both directions; both carry the replica's own
count of its reports (`serial`), and reports come in the order of that count. An inventory has no such count: it is of
one moment, and nothing is applied between that and its end.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from dirsync.core.paths import RelPath


class ReportAges:
    """Which of one replica's reports are old. Remembers only while older ones may still be on their way."""

    def __init__(self) -> None:
        self._under_way: Counter[RelPath] = Counter()
        self._has_ended = asyncio.Event()
        self.is_inventory_due = False
        """Whether none may begin to apply anything: an inventory is taken, or is about to be."""
        self._forget()

    def _forget(self) -> None:
        self._taken = 0
        self._during: dict[RelPath, int] = {}
        self._applied: dict[RelPath, int] = {}
        self._last_applied = -1

    @contextmanager
    def applying(self, paths: Iterable[RelPath]) -> Iterator[None]:
        """Within the block these are applied to, and no inventory begins.

        `is_latest` tells of each that was whether its result is the last that is known.
        """
        applied = list(paths)
        self._under_way.update(applied)
        try:
            yield
        finally:
            self._under_way.subtract(applied)
            for path in applied:
                if not self._under_way[path]:
                    del self._under_way[path]
                    self._during.pop(path, None)
            self._has_ended.set()

    async def wait_applied(self, path: RelPath) -> None:
        """Wait until no apply of `path` is under way."""
        while path in self._under_way:
            await self._wait_ended()

    @asynccontextmanager
    async def inventory(self) -> AsyncIterator[None]:
        """Within the block no apply is under way, and what was reported before counts for nothing.

        Perhaps it was of another start of the replica; the inventory says it all.
        """
        self.is_inventory_due = True
        try:
            while self._under_way:
                await self._wait_ended()
            self._forget()
            yield
        finally:
            self.is_inventory_due = False

    async def _wait_ended(self) -> None:
        self._has_ended.clear()
        await self._has_ended.wait()

    def is_news(self, path: RelPath, serial: int) -> bool:
        """Take note of a report; return False where what was applied to the path since is known already."""
        self._taken = serial
        if path in self._under_way:
            self._during[path] = serial
        is_late = serial <= self._applied.get(path, -1)
        if serial >= self._last_applied:
            self._applied.clear()  # whatever comes now was made after all of them
        return not is_late

    def is_latest(self, path: RelPath, serial: int) -> bool:
        """Take note of an apply; return False where a report that was made after it came before its result."""
        if serial > self._taken:
            self._applied[path] = serial
            self._last_applied = max(serial, self._last_applied)
        return self._during.get(path, -1) <= serial
