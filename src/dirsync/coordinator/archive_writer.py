"""Writes the base behind the coordinator's back: in batches, one durable transaction each, off the loop.

The base in memory may run ahead of the one on disk: after a crash the comparison finds both replicas equal and
records them again. It never runs behind, because rows are written only for what has been applied.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from dirsync.core.entry import Entry, Role
from dirsync.core.events import Emit, EventName
from dirsync.core.paths import RelPath
from dirsync.core.tree import Tree
from dirsync.errors import StateError
from dirsync.limits import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.store import archive, unanswered_rows
from dirsync.store.database import Database
from dirsync.store.unanswered_rows import Told

Rows = Iterable[tuple[RelPath, Entry]]
"""Entries by path, in no order."""


class ArchiveWriter:
    """The archive of one pair, as the coordinator uses it. A write that fails is announced and tried again."""

    def __init__(self, database: Database, emit: Emit) -> None:
        self.database = database
        self._emit = emit
        self._rows: dict[RelPath, Entry | None] = {}
        self._is_cleared = False
        self._answered: list[int] = []
        self._last_told = 0
        self._has_work = asyncio.Event()
        self._is_written = asyncio.Event()
        self._is_written.set()

    async def load(self, standing: Rows = ()) -> Tree[Entry]:
        """Return the base as it was last recorded; what equals it in `standing` is used for it, to save memory.

        Raises StateError.
        """
        return await asyncio.to_thread(self._load, list(standing))

    def _load(self, standing: Sequence[tuple[RelPath, Entry]]) -> Tree[Entry]:
        rows = {row[0]: row for row in standing}
        with self.database.transaction() as connection:
            return Tree(there if (there := rows.get(row[0])) == row else row for row in archive.load(connection))

    async def load_told(self) -> list[Told]:
        """Return what replicas had been told without an answer in the base, in that order. Raises StateError."""
        told = await asyncio.to_thread(self._load_told)
        self._last_told = max((each.batch for each in told), default=0)
        return told

    def _load_told(self) -> list[Told]:
        with self.database.transaction() as connection:
            return unanswered_rows.load(connection)

    async def note_told(self, role: Role, shared: Mapping[RelPath, Entry | None]) -> int:
        """Note what a replica is about to be told, and return the number of the note; it survives a kill.

        Where it cannot be noted nothing waits for that: the archive cannot be written then either, which is announced.
        """
        self._last_told += 1
        number = self._last_told
        with suppress(StateError):
            await asyncio.to_thread(self._note_told, number, role, shared)
        return number

    def _note_told(self, number: int, role: Role, shared: Mapping[RelPath, Entry | None]) -> None:
        # A sync would cost each batch as much as its apply. Without it, a power cut may bring back what was deleted.
        with self.database.transaction(is_synced=False) as connection:
            unanswered_rows.add(connection, number, role, shared)

    def forget_told(self, number: int) -> None:
        """Have a note (0: none) forgotten together with the next rows: what came of it is recorded by now."""
        if number:
            self._answered.append(number)

    def record(self, path: RelPath, entry: Entry | None) -> None:
        """Have the base at `path` written soon."""
        self._rows[path] = entry
        self._has_work.set()
        self._is_written.clear()

    def clear(self) -> None:
        """Have the whole base dropped: from now on this is a first run."""
        self._rows = {}
        self._is_cleared = True
        self._has_work.set()
        self._is_written.clear()

    async def wait_written(self) -> None:
        """Wait until everything recorded so far is durable."""
        await self._is_written.wait()

    async def run(self) -> None:
        """Write until cancelled, and write once more then: a clean end leaves nothing to be found again."""
        delay = 0.0
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                delay = await self._try_flush(delay)
                await asyncio.sleep(delay)
        finally:
            await self._try_flush(0.0)

    async def _try_flush(self, delay: float) -> float:
        """Write what waits; return how long to wait until the next try."""
        try:
            await self.flush()
        except StateError as error:
            if not delay:
                self._emit(EventName.ERROR, None, {"reason": f"the archive cannot be written: {error}"})
            self._has_work.set()
            return min(delay * 2, RETRY_MAX_SECONDS) or RETRY_FIRST_SECONDS
        return 0.0

    async def flush(self) -> None:
        """Write what waits now. Raises StateError; what was not written waits on."""
        rows, self._rows = self._rows, {}
        is_cleared, self._is_cleared = self._is_cleared, False
        if not rows and not is_cleared:
            return
        answered, self._answered = self._answered, []
        is_done = False
        try:
            await asyncio.to_thread(self._write, rows, is_cleared, answered)
            is_done = True
        finally:
            if not is_done:
                self._answered += answered
            if not is_done and not self._is_cleared:
                # Whether or not a thread still writes them: writing them again changes nothing.
                self._rows = rows | self._rows
                self._is_cleared = is_cleared
        if not self._rows and not self._is_cleared:
            self._is_written.set()

    def _write(self, rows: dict[RelPath, Entry | None], is_cleared: bool, answered: Sequence[int]) -> None:
        with self.database.transaction() as connection:
            if is_cleared:
                archive.clear(connection)
            archive.record(connection, rows.items())
            unanswered_rows.remove(connection, answered)
