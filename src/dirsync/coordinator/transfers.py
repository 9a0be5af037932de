"""Large contents on their way to one replica, beside its lane.

Owns how many are under way and which comes next: a content waits only for contents of its own order of size, so none
stands behind a much larger one. Does not know what bringing one over means.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from dirsync.core.entry import size_of
from dirsync.core.plan import Action
from dirsync.errors import DirsyncError

_CLASSES = (1024 * 1024, 64 * 1024 * 1024)
"""Contents up to these sizes, and larger ones, do not wait for each other."""
_RUNNING_MAX = 4
"""Of each class."""
_PROGRESS_SECONDS = 1.0
_PROGRESS_INTERVAL_SECONDS = 0.5


@dataclass(slots=True)
class _Class:
    waiting: deque[Action] = field(default_factory=deque)
    running: int = 0


class Transfers:
    """The large contents of one lane.

    `bring` brings one over and says whether it is there; `ended` is told how that ended. Of what was dropped nothing
    is told.
    """

    def __init__(
        self,
        bring: Callable[[Action], Awaitable[bool]],
        ended: Callable[[Action, bool, DirsyncError | None], None],
    ) -> None:
        self._bring = bring
        self._ended = ended
        self._classes = [_Class() for _ in range(len(_CLASSES) + 1)]
        self._running: dict[asyncio.Task[None], Action] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Own the transfers that are added within; they end with it, and a fault in one of them ends it."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                self.drop()

    def add(self, action: Action) -> None:
        """Have the content of an action brought over as soon as it is its turn."""
        one = self._classes[sum(size_of(action.intended) > limit for limit in _CLASSES)]
        one.waiting.append(action)
        self._start_next(one)

    def drop(self) -> list[Action]:
        """Stop everything, and return the actions that now have no end."""
        dropped = list(self._running.values())
        for task in self._running:
            task.cancel()
        self._running.clear()
        for one in self._classes:
            dropped += one.waiting
            one.waiting.clear()
        return dropped

    def _start_next(self, one: _Class) -> None:
        assert self._tasks is not None, "running() comes first"
        while one.waiting and one.running < _RUNNING_MAX:
            action = one.waiting.popleft()
            one.running += 1
            task = self._tasks.create_task(self._run(action), name="transfer")
            self._running[task] = action
            task.add_done_callback(partial(self._rested, one))

    async def _run(self, action: Action) -> None:
        is_here, failure = False, None
        try:
            is_here = await self._bring(action)
        except DirsyncError as error:
            failure = error
        task = asyncio.current_task()
        assert task is not None
        # Told from within, without an await: an action is either told of here or was dropped, never both.
        if self._running.pop(task, None) is not None:
            self._ended(action, is_here, failure)

    def _rested(self, one: _Class, task: asyncio.Task[None]) -> None:
        one.running -= 1
        if self._tasks is not None:
            self._start_next(one)


class Progress:
    """Says how far a transfer has come where it lasts, while it goes on. A context manager for its time.

    `arrived` is told how many bytes the target has; `announce` is called with that at most twice a second.
    """

    def __init__(self, done: int, announce: Callable[[int], None]) -> None:
        self._done = done
        self._said = -1
        self._announce = announce
        self._timer: asyncio.TimerHandle | None = None

    def arrived(self, done: int) -> None:
        """So many bytes are at the target."""
        self._done = done

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS_SECONDS, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._done != self._said:
            self._said = self._done
            self._announce(self._done)
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS_INTERVAL_SECONDS, self._tick)
