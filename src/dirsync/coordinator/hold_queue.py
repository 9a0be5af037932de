"""One locked file: its queue, its drain coroutine, and what comes in while it is held.

The queue in memory holds row ids only; the journal is the truth. Lock, unlock, enqueue and apply of one path are
serialised here, and nothing here ever waits for another path. The rules are `core.holds`; this file performs them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile

from dirsync.coordinator.hold_intake import HoldIntake
from dirsync.coordinator.hold_journal import HoldJournal, Journalled
from dirsync.coordinator.hold_steps import HoldSteps
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Directory, Problem, Role, Untracked, change_kind
from dirsync.core.events import Emit, EventName
from dirsync.core.holds import Update
from dirsync.core.paths import display
from dirsync.core.reports import Applied, Failed, HeldName, Missing, Refused, Result
from dirsync.errors import DirsyncError, Refusal, StateError
from dirsync.limits import BATCH_BYTES_MAX, INLINE_BYTES_MAX, LISTING_SECONDS, RETRY_FIRST_SECONDS
from dirsync.replica.interface import FullReplica

_SURPRISES_MAX = 20
"""How often in a row directory_a's file may change under one apply before the drain stops with a reason."""
_PROBLEMS_MAX = 3
"""How often in a row it may be unreadable, or the staged content gone: a program that saves just now, or a staging area
that made room for something else, is no reason to stop."""


_GROUP_MAX = 64
"""How many updates one apply gives: what is synced and recorded once for all of them is little beside the swaps then,
and whoever locks again meanwhile waits for no more than these."""


class HoldQueue:
    """The waiting updates of one locked name.

    `replicas` is shared with the coordinator: who can be reached now. `held_bytes_max` bounds all queues together.
    `is_compared` is set once the state of directory_a at the start is known: a drain of the last run goes on then.
    """

    def __init__(
        self,
        journalled: Journalled,
        journal: HoldJournal,
        pair: Pair,
        replicas: dict[Role, FullReplica],
        emit: Emit,
        held_bytes_max: int,
        wake: Callable[[], None],
        is_compared: asyncio.Event,
    ) -> None:
        self.hold = journalled.hold
        self.since_ns = journalled.since_ns
        self.reason = journalled.reason
        self.relocks = 0
        """How often the name was locked again."""
        self._journal = journal
        self._pair = pair
        self._replicas = replicas
        self._emit = emit
        self._wake = wake
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        for update in self.hold.updates:
            self._queue.put_nowait(update.id)
        self._next: deque[int] = deque()
        self._surprises = 0
        self._unlocked = asyncio.Event()
        self._applied_count = 0
        self._waiters: list[asyncio.Future[int]] = []
        self._is_ending = False
        self._is_stop_recorded = True
        self._gone = asyncio.Event()
        # Held over awaits: a durable step and its effect on the hold are one, and belong to this path alone.
        self.mutex = asyncio.Lock()
        self.intake = HoldIntake(
            self.hold,
            self.mutex,
            journal,
            pair,
            replicas,
            emit,
            held_bytes_max,
            wake,
            self._queue.put_nowait,
            self._record_given,
            is_compared,
        )
        self._steps = HoldSteps(self.hold, journal, pair, replicas)
        self._is_compared = is_compared
        if self.hold.is_draining:
            self._unlocked.set()

    @property
    def may_pass(self) -> bool:
        """Whether A's own edit may go to B as usual: nothing of B waits or is on its way."""
        path, hold = self.hold.path, self.hold
        if hold.updates or hold.is_draining or not self.intake.is_empty:
            return False
        if self._pair.views.get(Role.B, path) != hold.seen[Role.B]:
            return False
        present = self._pair.views.get(Role.A, path)
        is_news = present != hold.seen[Role.A] and not isinstance(present, Untracked | Problem)
        return is_news and not self._takes_away_what_b_made

    @property
    def is_waiting(self) -> bool:
        """Whether B's state differs from A's because of the lock, and only an unlock changes that."""
        is_known = self.hold.updates or self.intake.is_full or self._takes_away_what_b_made
        return not self.hold.is_draining and (
            bool(is_known) or self._pair.views.get(Role.B, self.hold.path) != self.hold.seen[Role.B]
        )

    @property
    def _takes_away_what_b_made(self) -> bool:
        """Whether A's own edit takes away a directory in which B has something new: that would need one at A, too."""
        views, path = self._pair.views, self.hold.path
        is_gone = isinstance(views.get(Role.B, path), Directory) and not isinstance(views.get(Role.A, path), Directory)
        return is_gone and views.has_news_below(Role.B, path)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way into the queue, and no drain is at work."""
        return self.intake.is_empty and not self.hold.is_draining

    async def unlock(self, relocks: int) -> int:
        """Have the updates received so far applied; return how many were. Raises Refusal with the reason if not.

        `relocks` is what it was when this was asked: whoever has locked the name again since has the last word.
        """
        await self.intake.wait_taken()
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with self.mutex:
            if self._gone.is_set():
                return self._applied_count
            if relocks != self.relocks:
                raise Refusal(self._stopped_text("locked again"))
            if not self.hold.is_draining:
                await self.intake.place_unsent()
                await self._journal.set_draining(self.hold.path, True)
                self.hold.is_draining = True
                self.reason = ""
                self._applied_count = 0
            self._waiters.append(waiter)
        self._unlocked.set()
        self._wake()
        return await waiter

    async def lock_again(self) -> bool:
        """Stop a drain between two updates: what is left stays held. False where the lock had just ended.

        Raises StateError where a stop cannot be made durable: after a restart the drain would go on.
        """
        self.relocks += 1
        async with self.mutex:
            if self._is_ending:
                return False
            was_draining = self.hold.is_draining
            if was_draining:
                await self._stop("locked again")
                self._emit(EventName.LOCKED, self.hold.path, {})
            if not self._is_stop_recorded:
                await self._record_stop()
        if was_draining:
            # Where nothing is left of the queue, what A holds beyond it may pass from now on.
            self._pair.replan(self.hold.path)
            self._wake()
            await self._retell(Role.B)
        return True

    async def wait_gone(self) -> None:
        """Wait until this lock has ended for good."""
        await self._gone.wait()

    async def run_drain(self) -> int:
        """Wait for the unlock, then apply the updates in order; return how many, when all are applied."""
        if self.hold.is_draining:
            await self._is_compared.wait()
            # What was given before the server died is told by then, but may not have been taken in.
            await self.intake.wait_taken()
        while True:
            await self._unlocked.wait()
            async with self.mutex:
                if not self._unlocked.is_set():
                    continue
                self._take_next()
                if not self._next:
                    self._is_ending = True
                    return self._applied_count
                ages = self._pair.ages[Role.A]
                may_apply = Role.A in self._replicas and not ages.is_inventory_due
                is_as_recorded = True
                if may_apply:
                    with ages.applying([self.hold.path]):
                        is_as_recorded = await self._try_group()
            if not may_apply:
                # It is attached anew, or compared, in a moment; or the server ends, and the next start goes on.
                await asyncio.sleep(RETRY_FIRST_SECONDS)
            elif not is_as_recorded:
                await self._capture_surprise()
            if not self._unlocked.is_set():
                await self._retell(Role.B)

    def finish(self, applied: int) -> None:
        """Tell who asked for the unlock that the lock has ended."""
        self._is_ending = True
        self._gone.set()
        self.intake.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(applied)

    def _take_next(self) -> None:
        """Have the numbers of the next updates at hand: the first ones of `hold.updates`, in the same order."""
        while len(self._next) < _GROUP_MAX and not self._queue.empty():
            self._next.append(self._queue.get_nowait())

    async def _try_group(self) -> bool:
        """Apply the head and what may go with it; False where something else than recorded stands in directory_a.

        Holds the mutex.
        """
        group = self.hold.next_group(len(self._next), BATCH_BYTES_MAX, INLINE_BYTES_MAX)
        try:
            results = await self._steps.apply(group)
            done = _leading_applied(results)
            if done:
                # Where this fails, the next drain finds the head applied, and records that.
                await self._record(group[: len(done)], done[-1].serial)
                self._surprises = 0
            result = results[min(len(done), len(results) - 1)]
        except DirsyncError as error:
            result = Failed(str(error))
        match result:
            case Refused(found=Untracked(reason)):
                await self._fail(reason)
            case Refused(found=Problem(reason)) if self._surprises >= _PROBLEMS_MAX:
                await self._fail(reason)
            case Missing() if self._surprises >= _PROBLEMS_MAX:
                await self._fail("its content was not found")
            case Refused() | Missing():
                self._surprises += 1
                if self._surprises > _SURPRISES_MAX:
                    await self._fail("the file at A is being changed all the time")
                return False
            case Failed():
                await self._fail(result.reason)
        return True

    async def _record(self, group: Sequence[Update], serial: int | None) -> None:
        """These were given to directory_a one after the other: journal, hold, base, events. Holds the mutex.

        `serial` counts what directory_a had reported when the last one was applied; None where it has reported that.
        """
        path = self.hold.path
        await self._journal.applied(self.hold, group)
        for update in group:
            before = self.hold.seen[Role.A]
            number = self._next.popleft() if self._next else self._queue.get_nowait()
            applied = self.hold.applied()
            assert number == applied.id, "numbers and updates are in one order"
            self._applied_count += 1
            kind = update.change if before == update.entry else change_kind(before, update.entry)
            fields = {"change": kind.value, "size": update.size, "remaining": self.hold.depth}
            self._emit(EventName.APPLIED, path, fields)
        if serial is not None and self.intake.is_latest(serial):
            self._pair.observe(Role.A, path, group[-1].entry, asyncio.get_running_loop().time())
        for entry in [update.entry for update in group if update.origin is Role.B][-1:]:
            self._pair.record(path, entry)

    async def _record_given(self, last: int) -> bool:
        """Record all updates up to this one; False where nothing was left to record. Holds the mutex."""
        given = list(takewhile(lambda update: update.id <= last, self.hold.updates))
        if given:
            await self._record(given, None)
        return bool(given)

    async def _fail(self, reason: str) -> None:
        """End the drain because its head cannot be applied. Holds the mutex."""
        await self._stop(reason)
        self._emit(EventName.ERROR, self.hold.path, {"reason": f"unlock stopped: {reason}"})

    async def _stop(self, reason: str) -> None:
        """End the drain for now; the file stays locked with what is left. Holds the mutex."""
        self._unlocked.clear()
        self._surprises = 0
        self.hold.is_draining = False
        self.reason = reason
        if not self.hold.updates:
            # The drain had come to its end: what A holds beyond the base passes to B as usual.
            self.hold.agree(self.hold.seen[Role.B])
        self._is_stop_recorded = False
        try:
            await self._record_stop()
        except StateError as error:
            # A restart goes on with the drain, which was asked for once, unless it is locked again before.
            self._emit(EventName.ERROR, self.hold.path, {"reason": f"the lock cannot be recorded: {error}"})
        self._wake()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(Refusal(self._stopped_text(reason)))

    async def _record_stop(self) -> None:
        await self._journal.set_draining(self.hold.path, False, self.reason)
        await self._journal.set_seen(self.hold.path, self.hold.seen)
        self._is_stop_recorded = True

    def _stopped_text(self, reason: str) -> str:
        depth = self.hold.depth
        held = f"{depth} update stays" if depth == 1 else f"{depth} updates stay"
        return f"{display(self.hold.path)} stays locked: {reason}; {held} held"

    async def _capture_surprise(self) -> None:
        """Have directory_a's present state captured to the tail, and wait until it is there."""
        self.intake.has_news.clear()
        await self._retell(Role.A)
        try:
            await asyncio.wait_for(self.intake.has_news.wait(), RETRY_FIRST_SECONDS)
        except TimeoutError:
            # Nothing new to capture: the state went back to what was recorded, so the next try may succeed.
            return

    async def _retell(self, role: Role) -> None:
        """Have the replica capture its present state, if that is not the last recorded one."""
        replica = self._replicas.get(role)
        if replica is None:
            return
        try:
            await asyncio.wait_for(replica.hold([HeldName(self.hold.path, self.hold.seen[role])]), LISTING_SECONDS)
        except (DirsyncError, TimeoutError):
            # One that was lost is told again when it is met again; else the drain tries again.
            return


def _leading_applied(results: Sequence[Result]) -> list[Applied]:
    """Return the results until one that is not done."""
    done = []
    for result in results:
        if not isinstance(result, Applied):
            break
        done.append(result)
    return done
