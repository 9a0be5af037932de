"""What a replica is being told to hold, so that a lost answer does not turn it into something of its own.

Noted before each apply: that the other replica held the same when it was planned. If the answer never comes, because
that replica or the line was lost, or because Server A was killed, what is found at the next comparison is the answer.
Otherwise a file that was given and has been deleted since would come back, and one that has been put back meanwhile
would be deleted.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Entry, Role
from dirsync.core.paths import RelPath
from dirsync.errors import DirsyncError


class Telling:
    """The applies whose answers are not in the base yet."""

    def __init__(self, archive: ArchiveWriter, pair: Pair) -> None:
        self._archive = archive
        self._pair = pair
        self._lost: list[int] = []

    async def load(self) -> None:
        """Take up what had no answer when Server A ended. Raises StateError."""
        for told in await self._archive.load_told():
            self._lose(told.batch, told.role, {told.path: told.entry})

    @asynccontextmanager
    async def noted(self, role: Role, shared: Mapping[RelPath, Entry | None]) -> AsyncIterator[None]:
        """Have it noted that `role` is told in the block to hold these, as the other one does.

        A DirsyncError from the block counts as no answer.
        """
        number = await self._archive.note_told(role, shared) if shared else 0
        try:
            yield
        except DirsyncError:
            self._lose(number, role, shared)
            raise
        self._archive.forget_told(number)

    def compared(self) -> None:
        """Everything was found that could be the answer, or another replica has taken the place of one."""
        self._pair.compared()
        while self._lost:
            self._archive.forget_told(self._lost.pop())

    def _lose(self, number: int, role: Role, shared: Mapping[RelPath, Entry | None]) -> None:
        self._pair.note_unanswered(role, shared)
        self._lost.append(number)
