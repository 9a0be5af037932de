"""One locked file: its queue, its drain coroutine, and what comes in while it is held.

The queue in memory holds row ids only; the journal is the truth. Lock, unlock, enqueue and apply of one path are
serialised here, and nothing here ever waits for another path. The rules are `core.holds`; this file performs them.
"""

import asyncio
from collections.abc import Callable

from dirsync.coordinator.hold_intake import HoldIntake
from dirsync.coordinator.hold_journal import HoldJournal, Journalled
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Directory, File, Problem, Role, Untracked, change_kind
from dirsync.core.events import Emit, EventName
from dirsync.core.holds import Update
from dirsync.core.paths import RelPath, ancestors, display
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Failed, HeldName, Missing, Refused, Step
from dirsync.errors import DirsyncError, Refusal, StateError, Unreachable
from dirsync.limits import INLINE_BYTES_MAX, LISTING_SECONDS, RETRY_FIRST_SECONDS
from dirsync.replica.interface import FullReplica
from dirsync.store.hold_rows import UpdateRow

_SURPRISES_MAX = 20
"""How often in a row directory_a's file may change under one apply before the drain stops with a reason."""
_PROBLEMS_MAX = 3
"""How often in a row it may be unreadable, or the staged content gone: a program that saves just now, or a staging area
that made room for something else, is no reason to stop."""


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
        self._head: int | None = None
        self._unlocked = asyncio.Event()
        self._applied_count = 0
        self._waiters: list[asyncio.Future[int]] = []
        self._is_ending = False
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
            self._record_head,
            is_compared,
        )
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
        return present != hold.seen[Role.A] and not isinstance(present, Untracked | Problem)

    @property
    def is_waiting(self) -> bool:
        """Whether B's state differs from A's because of the lock, and only an unlock changes that."""
        is_known = self.hold.updates or self.intake.is_full
        return not self.hold.is_draining and (
            bool(is_known) or self._pair.views.get(Role.B, self.hold.path) != self.hold.seen[Role.B]
        )

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way into the queue, and no drain is at work."""
        return self.intake.is_empty and not self.hold.is_draining

    async def rows(self) -> list[UpdateRow]:
        """Return the waiting updates in order, as journalled; waits for nothing that goes on with this name."""
        return await self._journal.rows(self.hold)

    def _replica(self, role: Role) -> FullReplica:
        if role not in self._replicas:
            raise Unreachable(f"server {role.value} is not connected")
        return self._replicas[role]

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
        """Stop a drain between two updates: what is left stays held. False where the lock had just ended."""
        self.relocks += 1
        async with self.mutex:
            if self._is_ending:
                return False
            was_draining = self.hold.is_draining
            if was_draining:
                await self._stop("locked again")
                self._emit(EventName.LOCKED, self.hold.path, {})
        if was_draining:
            await self._retell(Role.B)
        return True

    async def wait_gone(self) -> None:
        """Wait until this lock has ended for good."""
        await self._gone.wait()

    async def run_drain(self) -> int:
        """Wait for the unlock, then apply the updates in order; return how many, when all are applied."""
        surprises = 0
        if self.hold.is_draining:
            await self._is_compared.wait()
        while True:
            await self._unlocked.wait()
            async with self.mutex:
                if not self._unlocked.is_set():
                    continue
                if self._head is None and self._queue.empty():
                    self._is_ending = True
                    return self._applied_count
                if self._head is None:
                    self._head = self._queue.get_nowait()
                is_done = await self._try_head(self._head, surprises)
                surprises = 0 if is_done else surprises + 1
                if surprises > _SURPRISES_MAX:
                    await self._fail("the file at A is being changed all the time")
            if not is_done:
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

    async def _try_head(self, number: int, surprises: int) -> bool:
        """Apply the head; False where something else than recorded stands in directory_a. Holds the mutex.

        `surprises` counts the tries before this one.
        """
        if not self.hold.updates or self.hold.updates[0].id != number:
            # The intake found it applied and recorded that.
            self._head = None
            return True
        try:
            row = await self._journal.row(self.hold.updates[0])
            result = await self._apply(row)
            if isinstance(result, Applied):
                # Where this fails, the next drain finds the head applied, and records that.
                await self._record(row)
        except DirsyncError as error:
            result = Failed(str(error))
        match result:
            case Applied():
                self._head = None
            case Refused(found=Untracked(reason)):
                await self._fail(reason)
            case Refused(found=Problem(reason)) if surprises >= _PROBLEMS_MAX:
                await self._fail(reason)
            case Missing() if surprises >= _PROBLEMS_MAX:
                await self._fail("its content was not found")
            case Refused() | Missing():
                return False
            case Failed():
                await self._fail(result.reason)
        return True

    async def _apply(self, row: UpdateRow) -> Applied | Refused | Missing | Failed:
        replica = self._replica(Role.A)
        steps = [Step(Action(above, None, Directory(mode))) for above, mode in self._missing_parents(row)]
        content: bytes | None = None
        if isinstance(row.entry, File):
            if row.size <= INLINE_BYTES_MAX:
                content = b"".join([chunk async for chunk in self._journal.content(row)])
            elif not await self._stage(replica, row, row.entry):
                return Failed("the held content is damaged")
        steps.append(Step(Action(row.path, self.hold.seen[Role.A], row.entry), content))
        results = await replica.apply(steps)
        now = asyncio.get_running_loop().time()
        for step, result in zip(steps[:-1], results[:-1], strict=True):
            if isinstance(result, Applied):
                self._pair.observe(Role.A, step.action.path, result.entry, now)
        return results[-1]

    async def _stage(self, replica: FullReplica, row: UpdateRow, entry: File) -> bool:
        have = await replica.stage(entry.digest, row.size)
        return have == row.size or await replica.put(entry.digest, row.size, 0, self._journal.content(row))

    def _missing_parents(self, row: UpdateRow) -> list[tuple[RelPath, int]]:
        if row.entry is None:
            return []
        missing = []
        for above in ancestors(row.path):
            if isinstance(self._pair.views.get(Role.A, above), Directory):
                break
            recorded = self._pair.views.base.get(above)
            missing.append((above, recorded.mode if isinstance(recorded, Directory) else 0o755))
        return missing[::-1]

    async def _record(self, row: UpdateRow) -> None:
        """The head stands in directory_a: journal, hold, base, event. Holds the mutex."""
        path, now = self.hold.path, asyncio.get_running_loop().time()
        before = self.hold.seen[Role.A]
        await self._journal.applied(self.hold, row)
        self.hold.applied()
        self._applied_count += 1
        self._pair.observe(Role.A, path, row.entry, now)
        if row.origin is Role.B:
            self._pair.record(path, row.entry)
        kind = row.change if before == row.entry else change_kind(before, row.entry).value
        self._emit(EventName.APPLIED, path, {"change": kind, "size": row.size, "remaining": self.hold.depth})

    async def _record_head(self, head: Update) -> None:
        """Record a head that was applied before the server was killed. Holds the mutex."""
        await self._record(await self._journal.row(head))

    async def _fail(self, reason: str) -> None:
        """End the drain because its head cannot be applied. Holds the mutex."""
        await self._stop(reason)
        self._emit(EventName.ERROR, self.hold.path, {"reason": f"unlock stopped: {reason}"})

    async def _stop(self, reason: str) -> None:
        """End the drain for now; the file stays locked with what is left. Holds the mutex."""
        self._unlocked.clear()
        self.hold.is_draining = False
        self.reason = reason
        if not self.hold.updates:
            # The drain had come to its end: what A holds beyond the base passes to B as usual.
            self.hold.agree(self.hold.seen[Role.B])
        try:
            await self._journal.set_draining(self.hold.path, False, reason)
            await self._journal.set_seen(self.hold.path, self.hold.seen)
        except StateError as error:
            # It stays stopped until a restart, which goes on with the drain: that was asked for once.
            self._emit(EventName.ERROR, self.hold.path, {"reason": f"the lock cannot be recorded: {error}"})
        self._wake()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(Refusal(self._stopped_text(reason)))

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
