"""Has replicas look, and knows when everything that a look saw has been taken in.

Counts the reports that were taken, as the contract of a replica counts those that were made. Says nothing about being
in sync; that is the loop's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet

from dirsync.core.entry import Role
from dirsync.core.paths import RelPath
from dirsync.core.reports import Look
from dirsync.errors import DirsyncError, Unreachable
from dirsync.replica.interface import FullReplica


class Looks:
    """The looks at both replicas. `ready` are those whose snapshot was taken; `until` waits for a condition.

    `unsettled` has the paths that the last look of each replica saw being written.
    """

    def __init__(
        self,
        replicas: Mapping[Role, FullReplica],
        ready: AbstractSet[Role],
        until: Callable[[Callable[[], bool]], Awaitable[None]],
    ) -> None:
        self._replicas = replicas
        self._ready = ready
        self._until = until
        self._taken = dict.fromkeys(Role, 0)
        self._snapshots = dict.fromkeys(Role, 0)
        self.unsettled: dict[Role, list[RelPath]] = {}

    def forget(self, role: Role) -> None:
        """The replica was lost: what it saw being written is not known any more."""
        self.unsettled.pop(role, None)

    def took_report(self, role: Role) -> None:
        """One more report of this replica was taken in."""
        self._taken[role] += 1

    def took_snapshot(self, role: Role) -> None:
        """A snapshot was taken in: the count of reports starts anew."""
        self._taken[role] = 0
        self._snapshots[role] += 1

    async def look(self, role: Role, is_full: bool) -> Look:
        """Have a replica look, and wait until everything it saw is taken in.

        Raises Unreachable, RootLost, or what else hindered it.
        """
        replica = self._replicas.get(role)
        if replica is None or role not in self._ready:
            raise Unreachable(f"server {role.value} is not connected")
        snapshot = self._snapshots[role]

        def is_cut_short() -> bool:
            return role not in self._ready or self._snapshots[role] != snapshot

        look = await replica.look(is_full)
        self.unsettled[role] = [path for path, _ in look.unsettled]
        await self._until(lambda: is_cut_short() or self._taken[role] >= look.reported)
        if is_cut_short():
            raise Unreachable(f"server {role.value} was lost meanwhile")
        return look

    async def look_at_both(self, is_full: bool) -> list[Look] | None:
        """Have both replicas look; None where one of them could not."""
        found = await asyncio.gather(*(self.look(role, is_full) for role in Role), return_exceptions=True)
        looks: list[Look] = []
        for look in found:
            if isinstance(look, Look):
                looks.append(look)
            elif not isinstance(look, DirsyncError):
                raise look
        return looks if len(looks) == len(found) else None


def is_settled(looks: list[Look] | None) -> bool:
    """Return whether both replicas have looked, and neither saw anything that is still being written."""
    return looks is not None and not any(look.unsettled for look in looks)
