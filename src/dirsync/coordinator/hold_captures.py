"""States that a replica captured of a locked name: on their way in, where their content is, and how they are let go."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from dirsync.core.chunks import ContentBytes
from dirsync.core.entry import Entry, File, Problem, Role, Untracked
from dirsync.core.reports import Change, ContentOfCapture
from dirsync.errors import Unreachable
from dirsync.replica.interface import FullReplica


@dataclass(frozen=True, slots=True)
class Taken:
    """A reported state on its way into the queue. `while_apart`: the replicas could not talk when it was found.

    `is_from_start`: it is what A found changed when it started, or had not put into the queue before it ended.
    `session` numbers the snapshots of its replica: each reports everything again that was not released.
    """

    role: Role
    change: Change
    while_apart: bool
    is_from_start: bool
    session: int

    @property
    def entry(self) -> Entry | None:
        """The state; only what can be an update is asked for it."""
        assert not isinstance(self.change.found, Untracked | Problem)
        return self.change.found


class Captures:
    """What both replicas have captured. `is_damaged`: of a content that was refused some was there."""

    def __init__(self, replicas: dict[Role, FullReplica]) -> None:
        self._replicas = replicas
        self._unreleased: dict[Role, set[int]] = {role: set() for role in Role}
        self.is_damaged = False

    async def content(self, taken: Taken) -> AsyncIterator[ContentBytes]:
        """Yield the content of a file. Raises Refusal where it is not there, Unreachable."""
        entry = taken.entry
        assert isinstance(entry, File)
        self.is_damaged = taken.change.content is not None
        if taken.change.content is not None:
            yield taken.change.content
            return
        replica = self._replicas.get(taken.role)
        if replica is None:
            raise Unreachable(f"server {taken.role.value} is not connected")
        async for chunk in replica.supply(ContentOfCapture(taken.change.capture, entry), 0):
            self.is_damaged = True
            yield chunk

    async def release(self, taken: Taken) -> None:
        """Have its replica drop it: it is durable here, or not wanted.

        Where that fails it is dropped together with the next one: until then whoever captured it would hold back what
        it is told of the name.
        """
        if not taken.change.capture or taken.role not in self._replicas:
            return
        unreleased = self._unreleased[taken.role]
        unreleased.add(taken.change.capture)
        captures = sorted(unreleased)
        await self._replicas[taken.role].release(captures)
        unreleased.difference_update(captures)

    def supersede(self, role: Role) -> None:
        """Forget what could not be released: its replica reports it again."""
        self._unreleased[role].clear()
