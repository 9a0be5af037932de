"""The conflicts that a person has not looked at: noted before the loser is replaced, until its history is shown.

Noted first, durably, so that none is forgotten where a server dies, or the connection ends, before the outcome is
known: when the replica that kept the loser is there again, its versions say what became of it.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from dirsync.core.entry import Role, same_content
from dirsync.core.events import Emit, EventName
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Failed, Result
from dirsync.core.versions import Version, Why
from dirsync.errors import StateError
from dirsync.replica.interface import FullReplica
from dirsync.store import conflict_rows
from dirsync.store.conflict_rows import ConflictRow
from dirsync.store.database import Database

T = TypeVar("T")


class Conflicts:
    """The conflicts of one pair. Every method but `end` raises StateError where the state cannot be used."""

    def __init__(self, database: Database, emit: Emit) -> None:
        self._database = database
        self._emit = emit

    async def begin(self, target: Role, actions: Sequence[Action]) -> dict[RelPath, int]:
        """Note the conflicts among actions that are about to be applied at `target`; return their numbers."""
        found = [action for action in actions if action.is_conflict and not _is_same(action)]
        return await asyncio.to_thread(self._begin, target.other, found) if found else {}

    def _begin(self, winner: Role, actions: Sequence[Action]) -> dict[RelPath, int]:
        now_ns = time.time_ns()
        with self._database.transaction() as connection:
            return {
                action.path: conflict_rows.begin(connection, action.path, winner, action.expected, now_ns)
                for action in actions
                if action.expected is not None
            }

    async def end(self, numbers: dict[RelPath, int], results: dict[RelPath, Result]) -> None:
        """Record what became of conflicts that were begun.

        One whose step failed, or whose loser could not be recorded, stays as it is: what was done is found later.
        """
        settled = {
            number: result.kept
            for path, number in numbers.items()
            if isinstance(result := results.get(path), Applied) and result.kept is not None
        }
        undone = [number for path, number in numbers.items() if not isinstance(results.get(path), Applied | Failed)]

        def write() -> None:
            with self._database.transaction() as connection:
                for number, version in settled.items():
                    conflict_rows.settle(connection, number, version)
                conflict_rows.remove(connection, undone)

        if settled or undone:
            try:
                await asyncio.to_thread(write)
            except StateError as error:
                # What was applied is applied; these are settled when the replicas are compared next.
                self._emit(EventName.ERROR, None, {"reason": str(error)})

    async def recover(self, target: Role, replica: FullReplica) -> None:
        """Find out what became of the losers of `target` where that is not known. Raises Unreachable too."""
        for row in await self._read(partial(conflict_rows.unsettled, winner=target.other)):
            of_path = await self._read(partial(conflict_rows.of_path, path=row.path))
            taken = {other.version for other in of_path}
            versions = [version for version in await replica.history(row.path) if version.id not in taken]
            kept = next((version for version in versions if _may_be(version, row)), None)
            await asyncio.to_thread(self._learn, row, kept)
            if kept is not None:
                self._emit(EventName.CONFLICT, row.path, {"winner": row.winner.value, "kept": kept.id})

    def _learn(self, row: ConflictRow, kept: Version | None) -> None:
        with self._database.transaction() as connection:
            if kept is None:
                conflict_rows.remove(connection, [row.number])
            else:
                conflict_rows.settle(connection, row.number, kept.id)

    async def newest(self, count: int) -> tuple[int, list[ConflictRow]]:
        """Return how many there are, and the newest of them."""
        return await self._read(
            lambda connection: (conflict_rows.count(connection), conflict_rows.newest(connection, count))
        )

    async def looked_at(self, path: RelPath, shown: Collection[str], unreachable: Collection[Role]) -> None:
        """Somebody was shown these versions of `path`: forget its conflicts that are among them.

        So is one whose version has expired; what an unreachable server keeps was not shown.
        """

        def forget() -> None:
            with self._database.transaction() as connection:
                rows = conflict_rows.of_path(connection, path)
                known = [
                    row for row in rows if row.version and (row.version in shown or _keeper(row) not in unreachable)
                ]
                conflict_rows.remove(connection, [row.number for row in known])

        await asyncio.to_thread(forget)

    async def _read(self, read: Callable[..., T]) -> T:
        def call() -> T:
            with self._database.transaction() as connection:
                return read(connection)

        return await asyncio.to_thread(call)


def _is_same(action: Action) -> bool:
    return action.expected is None or same_content(action.expected, action.intended)


def _may_be(version: Version, row: ConflictRow) -> bool:
    """Return whether this version may be the loser: it is told by its entry, or by why it was kept."""
    return version.entry == row.loser or version.why is Why.CONFLICT


def _keeper(row: ConflictRow) -> Role:
    return row.winner.other
