"""The batches that wait for one replica, and which of them is next.

What one plan made stays in its order, in which directories come first. Between plans any order is right: what is
planned touches no path that waits here already. So directories overtake: what is in a new one is not planned before it
is there, however much was planned before it.
"""

import asyncio
from dataclasses import dataclass, field
from itertools import count

from dirsync.core.entry import Directory
from dirsync.core.plan import Action


@dataclass(frozen=True, order=True, slots=True)
class _Waiting:
    can_wait: bool
    number: int
    actions: list[Action] = field(compare=False)


class Batches:
    """A queue of batches: those that make directories first, otherwise in the order in which they came."""

    def __init__(self) -> None:
        self._queue: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue()
        self._numbers = count()

    def put(self, actions: list[Action]) -> None:
        """Have these applied together, in this order."""
        makes_directories = any(isinstance(action.intended, Directory) for action in actions)
        self._queue.put_nowait(_Waiting(not makes_directories, next(self._numbers), actions))

    async def get(self) -> list[Action]:
        """Wait for a batch and return the next one."""
        return (await self._queue.get()).actions

    def drop(self) -> list[Action]:
        """Forget all of them; return what will not be done."""
        dropped: list[Action] = []
        while not self._queue.empty():
            dropped += self._queue.get_nowait().actions
        return dropped
