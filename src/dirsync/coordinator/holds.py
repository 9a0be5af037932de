"""All locked names: who is held, locking and unlocking, and where reports about held names go."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from heapq import nsmallest
from typing import TypeVar

from dirsync.coordinator.hold_journal import HoldJournal, Journalled
from dirsync.coordinator.hold_queue import HoldQueue
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Entry, Role
from dirsync.core.events import Emit, EventName
from dirsync.core.holds import Hold
from dirsync.core.paths import RelPath, ancestors, display, is_between
from dirsync.core.reports import Change, HeldName
from dirsync.errors import DirsyncError, Refusal, RootLost, StateError, Unreachable
from dirsync.limits import HOLD_TOLD_SECONDS, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.replica.interface import FullReplica

_T = TypeVar("_T", bool, int)

_TOLD_AT_ONCE = 100
"""Names of one message: with the longest paths and link targets it is well below a frame."""


class Aside(Container[object]):
    """The names in `waiting`, and whatever lies above or below one of them and is not itself in `held`."""

    def __init__(self, waiting: AbstractSet[RelPath], held: AbstractSet[RelPath]) -> None:
        self._waiting = waiting
        self._held = held
        self._above = {above for path in waiting for above in ancestors(path)}

    def __contains__(self, path: object) -> bool:
        if not self._waiting or path in self._waiting:
            return bool(self._waiting)
        if path in self._held or not isinstance(path, bytes):
            return False
        return path in self._above or any(above in self._waiting for above in ancestors(RelPath(path)))


class Holds:
    """The locks of Server A.

    `wake` is called when a path may be planned again. Each locked name has two tasks of its own, owned by the task
    group that `run` opens.
    """

    def __init__(
        self,
        journal: HoldJournal,
        pair: Pair,
        replicas: dict[Role, FullReplica],
        emit: Emit,
        held_bytes_max: int,
        wake: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._pair = pair
        self._replicas = replicas
        self._emit = emit
        self._held_bytes_max = held_bytes_max
        self._wake = wake
        self._queues: dict[RelPath, HoldQueue] = {}
        self._starting: asyncio.Queue[HoldQueue] = asyncio.Queue()
        self._carried: set[asyncio.Task[bool] | asyncio.Task[int]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        # Replicas that are being told that a lock has ended.
        self._leaving: dict[tuple[Role, RelPath], asyncio.Task[None]] = {}
        self.ends = 0
        """How often a replica has heard of the end of a lock: what it saw before says nothing about that name."""
        self._is_compared = asyncio.Event()

    def __iter__(self) -> Iterator[HoldQueue]:
        return iter([self._queues[path] for path in sorted(self._queues)])

    def __contains__(self, path: RelPath) -> bool:
        return path in self._queues

    def depth(self, path: RelPath) -> int:
        """Return how many updates of `path` wait."""
        queue = self._queues.get(path)
        return queue.hold.depth if queue else 0

    def is_frozen(self, path: RelPath) -> bool:
        """Return whether the base of `path` advances only by applied updates."""
        queue = self._queues.get(path)
        return queue is not None and (bool(queue.hold.updates) or queue.intake.is_full)

    def is_free(self, path: RelPath) -> bool:
        """Return whether the plan may act on `path`: not held, or only A's own edit is to pass to B."""
        queue = self._queues.get(path)
        return queue is None or queue.may_pass

    def is_held_at(self, role: Role, path: RelPath) -> bool:
        """Return whether nothing may be applied to `path` at this replica now."""
        queue = self._queues.get(path)
        return queue is not None and (role is Role.A or not queue.may_pass)

    def aside(self) -> "Aside":
        """Return the paths that are out of sync only because of a lock, as things are now."""
        return Aside({path for path, queue in self._queues.items() if queue.is_waiting}, self._queues.keys())

    @property
    def is_draining(self) -> bool:
        """Whether held updates are being applied."""
        return any(queue.hold.is_draining for queue in self._queues.values())

    @property
    def is_quiet(self) -> bool:
        """Whether no captured state is on its way into a queue, and the replicas know which locks have ended."""
        return not self._leaving and all(queue.is_quiet for queue in self._queues.values())

    async def tell_all(self, role: Role, replica: FullReplica) -> None:
        """Tell a replica that is met what is held, and so what is not any more: it may have missed the end of a lock.

        Each part is of its own moment, so that what is told besides is not undone by an older list.
        """
        after: RelPath | None = None
        while True:
            part = nsmallest(_TOLD_AT_ONCE, (path for path in self._queues if is_between(path, after, None)))
            until = part[-1] if len(part) == _TOLD_AT_ONCE else None
            names = [HeldName(path, self._queues[path].hold.seen[role]) for path in part]
            await replica.hold_only(names, after, until)
            if until is None:
                return
            after = until

    async def load(self) -> None:
        """Take up the locks of the last run."""
        for journalled in await self._journal.load():
            hold = journalled.hold
            if not hold.updates:
                # With an empty queue both replicas were last seen at the base.
                hold.agree(self._pair.views.base.get(hold.path))
            self._starting.put_nowait(self._add(journalled))

    async def first_run(self, role: Role) -> None:
        """Another replica plays this role: nothing was ever recorded of it, so nothing it lacks is an update."""
        for queue in list(self._queues.values()):
            async with queue.mutex:
                if not queue.hold.updates:
                    queue.hold.agree(None)
                else:
                    queue.hold.seen[role] = None
                await self._journal.set_seen(queue.hold.path, queue.hold.seen)

    def compared(self, role: Role) -> None:
        """All that a comparison of this replica found is on its way into the queues.

        Nothing is taken into them before directory_a was compared at the start.
        """
        if role is Role.A:
            self._is_compared.set()
        else:
            for queue in self._queues.values():
                queue.intake.met()

    def supersede(self, role: Role) -> None:
        """A new snapshot of this replica: what it captured and nobody released, it reports again."""
        for queue in self._queues.values():
            queue.intake.supersede(role)

    async def run(self) -> None:
        """Own the tasks of all queues until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                queue = await self._starting.get()
                tasks.create_task(self._serve(queue), name=f"hold {display(queue.hold.path)}")

    def _add(self, journalled: Journalled) -> HoldQueue:
        queue = HoldQueue(
            journalled,
            self._journal,
            self._pair,
            self._replicas,
            self._emit,
            self._held_bytes_max,
            self._wake,
            self._is_compared,
        )
        self._queues[queue.hold.path] = queue
        return queue

    async def _serve(self, queue: HoldQueue) -> None:
        """Live as long as the lock: take in, and drain once unlocked."""
        async with asyncio.TaskGroup() as tasks:
            intake = tasks.create_task(queue.intake.run(), name=f"intake {display(queue.hold.path)}")
            applied = await queue.run_drain()
            intake.cancel()
        queue.intake.close()
        await self._finish(queue, applied)

    async def _finish(self, queue: HoldQueue, applied: int) -> None:
        path = queue.hold.path
        await self._end_durably(path)
        del self._queues[path]
        for role, replica in self._replicas.items():
            leaving = self._start_telling(self._tell_end(role, replica, path))
            self._leaving[role, path] = leaving
            leaving.add_done_callback(partial(self._left, role, path))
        self._emit(EventName.UNLOCKED, path, {"applied": applied})
        now = asyncio.get_running_loop().time()
        for role in list(self._replicas):
            self._pair.observe(role, path, self._pair.views.get(role, path), now)
        queue.finish(applied)
        self._make_room()
        self._wake()

    def _left(self, role: Role, path: RelPath, leaving: asyncio.Task[None]) -> None:
        if self._leaving.get((role, path)) is leaving:
            del self._leaving[role, path]
        self.ends += 1
        self._wake()

    def _start_telling(self, telling: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(telling, name="tell of a lock")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _end_durably(self, path: RelPath) -> None:
        """Remove the lock from the journal, however long that takes: nothing of it is left but its name."""
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                await self._journal.unlock(path)
                return
            except StateError as error:
                self._emit(EventName.ERROR, path, {"reason": f"the unlock cannot be recorded: {error}"})
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)

    def _make_room(self) -> None:
        """Where a queue was full, have B's present state captured now."""
        for queue in self._queues.values():
            if queue.intake.is_full:
                self._start_telling(self._tell_held(Role.B, queue))

    async def lock(self, path: RelPath) -> bool:
        """Lock a name; return whether it was locked already. Durable when this returns."""
        return await self._carry(asyncio.create_task(self._lock(path), name=f"lock {display(path)}"))

    def relocks(self, path: RelPath) -> int:
        """Return how often a locked name was locked again; to be told to `unlock` where that is asked now."""
        queue = self._queues.get(path)
        return queue.relocks if queue else 0

    async def unlock(self, path: RelPath, relocks: int | None = None) -> int:
        """Unlock a name and return how many updates were applied. Raises Refusal with the reason if not."""
        queue = self._queues.get(path)
        if queue is None:
            raise Refusal(f"not locked: {display(path)}")
        return await self._carry(
            asyncio.create_task(
                queue.unlock(queue.relocks if relocks is None else relocks), name=f"unlock {display(path)}"
            )
        )

    async def _carry(self, task: asyncio.Task[_T]) -> _T:
        """Carry through what was begun, whether or not whoever asked still waits."""
        self._carried.add(task)
        task.add_done_callback(self._carried_through)
        return await asyncio.shield(task)

    def _carried_through(self, task: asyncio.Task[_T]) -> None:
        self._carried.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it

    async def _lock(self, path: RelPath) -> bool:
        while (queue := self._queues.get(path)) is not None:
            if await queue.lock_again():
                return True
            await queue.wait_gone()
        queue = self._add(Journalled(Hold(path, {Role.A: None, Role.B: None}), 0, ""))
        # What waited only to be renamed below this name waits no longer.
        self._pair.replan(path)
        self._wake()
        async with queue.mutex:
            try:
                # From here on nothing new is applied to it; what was under way ends first, and may move the base.
                await self._pair.ages[Role.A].wait_applied(path)
                queue.hold.agree(self._pair.views.base.get(path))
                queue.since_ns = await self._journal.lock(queue.hold)
            except BaseException:
                del self._queues[path]
                queue.finish(0)
                raise
        self._emit(EventName.LOCKED, path, {"applied": 0})
        self._starting.put_nowait(queue)
        # It holds without them; they are waited for so that what B does from now on is captured state by state.
        telling = [self._start_telling(self._tell_held(role, queue)) for role in Role]
        await asyncio.wait(telling, timeout=HOLD_TOLD_SECONDS)
        return False

    async def _tell_held(self, role: Role, queue: HoldQueue) -> None:
        """Have a replica capture a name from now on."""
        path = queue.hold.path
        if (leaving := self._leaving.get((role, path))) is not None:
            # The end of the lock before this one must not be heard after its beginning.
            await asyncio.wait([leaving])

        async def tell() -> None:
            if self._queues.get(path) is queue and role in self._replicas:
                await self._replicas[role].hold([HeldName(path, queue.hold.seen[role])])

        await self._tell_at_last(path, tell, "its updates cannot be held yet")

    async def _tell_end(self, role: Role, replica: FullReplica, path: RelPath) -> None:
        """Have a replica capture a name no longer."""

        async def tell() -> None:
            if self._replicas.get(role) is replica:
                await replica.unhold([path])

        await self._tell_at_last(path, tell, "that it is unlocked could not be passed on yet")

    async def _tell_at_last(self, path: RelPath, tell: Callable[[], Awaitable[None]], trouble: str) -> None:
        """Tell a replica of a lock: one that is lost hears of it when it is met again, any other as soon as it can."""
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                await tell()
                return
            except (Unreachable, RootLost):
                return
            except DirsyncError as error:
                self._emit(EventName.ERROR, path, {"reason": f"{trouble}: {error}"})
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)

    def take(self, role: Role, change: Change, while_apart: bool) -> None:
        """Accept a change if it is a captured state of a held name."""
        queue = self._queues.get(change.path)
        if queue is not None and change.capture:
            queue.intake.take(role, change, while_apart)

    def agreed(self, path: RelPath, entry: Entry | None) -> None:
        """Both replicas hold `entry` at `path` now."""
        queue = self._queues.get(path)
        if queue is not None:
            queue.intake.agreed(entry)
