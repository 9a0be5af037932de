"""How states of a locked name get into its queue: one at a time, in the order in which A received them.

Asks `core.holds` what becomes an update, brings its content into the spool and its row into the journal, and only then
releases the capture: what a replica captured is acknowledged when it is durable here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.lane import Emit
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Entry, File, Problem, Role, Untracked, change_kind, size_of
from dirsync.core.events import EventName
from dirsync.core.holds import Hold, Update
from dirsync.core.reports import Change, ContentOfCapture
from dirsync.errors import DiskError, Refusal, RootLost, StateError, Unreachable
from dirsync.limits import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.replica.interface import FullReplica


@dataclass(frozen=True, slots=True)
class _Taken:
    """A reported state on its way into the queue. `while_apart`: the replicas could not talk when it was found."""

    role: Role
    change: Change
    while_apart: bool


class HoldIntake:
    """The way into the queue of one locked name.

    `mutex` is the name's own: it is held over awaits, because a durable step and its effect on the hold are one.
    `enqueued` is told the row id of each new update. `record_head` records that directory_a holds the head.
    """

    def __init__(
        self,
        hold: Hold,
        mutex: asyncio.Lock,
        journal: HoldJournal,
        pair: Pair,
        replicas: dict[Role, FullReplica],
        emit: Emit,
        held_bytes_max: int,
        wake: Callable[[], None],
        enqueued: Callable[[int], None],
        record_head: Callable[[Update], Awaitable[None]],
    ) -> None:
        self.is_full = False
        self.has_news = asyncio.Event()
        self._hold = hold
        self._mutex = mutex
        self._journal = journal
        self._pair = pair
        self._replicas = replicas
        self._emit = emit
        self._held_bytes_max = held_bytes_max
        self._wake = wake
        self._enqueued = enqueued
        self._record_head = record_head
        self._intake: asyncio.Queue[_Taken] = asyncio.Queue()
        self._unsent: _Taken | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way into the queue."""
        return self._intake.empty() and not self._mutex.locked()

    def take(self, role: Role, change: Change, while_apart: bool) -> None:
        """Accept a report about the held name, in order."""
        self._intake.put_nowait(_Taken(role, change, while_apart))

    async def wait_taken(self) -> None:
        """Wait until everything accepted so far is in the queue, or was found not to belong there."""
        await self._intake.join()

    def agreed(self, entry: Entry | None) -> None:
        """Both replicas hold `entry` now, without an update: A's edit has passed."""
        if not self._hold.updates:
            self._hold.agree(entry)
            if self._unsent is not None:
                # It is no news any more, so taking it in again only releases its capture.
                self._intake.put_nowait(self._unsent)
                self._unsent = None

    async def run(self) -> None:
        """Put what was accepted into the queue, one at a time, until cancelled."""
        while True:
            taken = await self._intake.get()
            try:
                await self._take_in(taken)
            finally:
                self._intake.task_done()
            # With nothing on its way any more, A's own edit may pass.
            self._pair.dirty.add(self._hold.path)
            self._wake()

    async def _take_in(self, taken: _Taken) -> None:
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                async with self._mutex:
                    await self._decide(taken)
                return
            except (Unreachable, RootLost, Refusal):
                # The replica reports the state again when it is back; what it no longer has cannot be held.
                return
            except (DiskError, StateError) as error:
                self._emit(EventName.ERROR, self._hold.path, {"reason": f"an update could not be held: {error}"})
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)

    async def _decide(self, taken: _Taken) -> None:
        entry = taken.change.found
        if isinstance(entry, Untracked | Problem):
            return
        if taken.role is Role.A:
            await self._decide_a(taken, entry)
            return
        if self._hold.is_draining:
            # Not received before the unlock was asked: an ordinary change when the drain has ended.
            await self._release(taken)
            return
        present_a = self._unsent.change.found if self._unsent else self._hold.seen[Role.A]
        assert not isinstance(present_a, Untracked | Problem)
        is_comparison = self._unsent is not None and self._unsent.while_apart
        order = self._hold.offer_b(entry, present_a, is_comparison)
        if not order and not self._hold.updates and entry == present_a:
            self._hold.agree(entry)
            await self._journal.set_seen(self._hold.path, self._hold.seen)
        for origin in order:
            source = taken if origin is Role.B else self._unsent
            if source is not None and not await self._enqueue(source):
                break
            if origin is Role.A and self._unsent is not None:
                sent, self._unsent = self._unsent, None
                await self._release(sent)
        await self._release(taken)

    async def _decide_a(self, taken: _Taken, entry: Entry | None) -> None:
        head = self._hold.updates[0] if self._hold.updates else None
        if self._hold.is_draining and head is not None and entry == head.entry and entry != self._hold.seen[Role.A]:
            # The drain had applied its head when the server was killed: only the record was missing.
            await self._record_head(head)
        elif self._hold.offer_a(entry):
            await self._enqueue(taken)
        elif entry != self._hold.seen[Role.A]:
            before, self._unsent = self._unsent, taken
            if before is not None:
                await self._release(before)
            return
        await self._release(taken)
        self.has_news.set()

    async def _enqueue(self, taken: _Taken) -> bool:
        """Make one state the last update; False where there is no room for it."""
        entry, origin, path = taken.change.found, taken.role, self._hold.path
        assert not isinstance(entry, Untracked | Problem)
        if self._journal.held_bytes + size_of(entry) > self._held_bytes_max:
            if not self.is_full:
                self.is_full = True
                reason = "held updates have reached [locks] max_size; unlock something, then B's version follows"
                self._emit(EventName.NOTICE, path, {"reason": reason})
            return False
        self.is_full = False
        kind = change_kind(self._hold.seen[origin], entry)
        update = await self._journal.enqueue(self._hold, origin, entry, kind, self._captured(taken))
        self._hold.enqueue(update)
        self._enqueued(update.id)
        fields = {"change": kind.value, "size": size_of(entry), "depth": self._hold.depth}
        self._emit(EventName.QUEUED, path, fields)
        return True

    async def _captured(self, taken: _Taken) -> AsyncIterator[bytes]:
        entry = taken.change.found
        assert isinstance(entry, File)
        if taken.change.content is not None:
            yield taken.change.content
        else:
            replica = self._replicas.get(taken.role)
            if replica is None:
                raise Unreachable(f"server {taken.role.value} is not connected")
            async for chunk in replica.supply(ContentOfCapture(taken.change.capture, entry), 0):
                yield chunk

    async def _release(self, taken: _Taken) -> None:
        if taken.change.capture and taken.role in self._replicas:
            await self._replicas[taken.role].release([taken.change.capture])
