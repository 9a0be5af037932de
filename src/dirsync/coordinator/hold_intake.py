"""How states of a locked name get into its queue: one at a time, in the order in which A received them.

Asks `core.holds` what becomes an update, brings its content into the spool and its row into the journal, and only then
releases the capture: what a replica captured is acknowledged when it is durable here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Entry, File, Problem, Role, Untracked, change_kind, size_of
from dirsync.core.events import Emit, EventName
from dirsync.core.holds import Hold, Update
from dirsync.core.reports import Change, ContentOfCapture
from dirsync.errors import DirsyncError, ProtocolError, Refusal, RootLost, Unreachable
from dirsync.limits import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.replica.interface import FullReplica


@dataclass(frozen=True, slots=True)
class _Taken:
    """A reported state on its way into the queue. `while_apart`: the replicas could not talk when it was found.

    `session` numbers the snapshots of its replica: each reports everything again that was not released.
    """

    role: Role
    change: Change
    while_apart: bool
    session: int


class HoldIntake:
    """The way into the queue of one locked name.

    `mutex` is the name's own: it is held over awaits, because a durable step and its effect on the hold are one.
    `enqueued` is told the row id of each new update. `record_head` records that directory_a holds the head.
    `is_compared` is set once A's own states of the start have been reported: B's are not decided before.
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
        is_compared: asyncio.Event,
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
        self._is_compared = is_compared
        self._intake: asyncio.Queue[_Taken | asyncio.Future[None]] = asyncio.Queue()
        self._markers: set[asyncio.Future[None]] = set()
        self._is_at_work = False
        self._trouble = ""
        self._is_closed = False
        self._sessions = dict.fromkeys(Role, 0)
        self._broken: dict[Role, int] = {}
        self._unsent: _Taken | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way into the queue."""
        return self._intake.empty() and not self._is_at_work and not self._mutex.locked()

    def take(self, role: Role, change: Change, while_apart: bool) -> None:
        """Accept a report about the held name, in order."""
        is_apart = while_apart or not self._is_compared.is_set()
        self._intake.put_nowait(_Taken(role, change, is_apart, self._sessions[role]))

    def supersede(self, role: Role) -> None:
        """A new snapshot of this replica: whatever of it is not in the queue yet is reported again, in order."""
        self._sessions[role] += 1

    async def wait_taken(self) -> None:
        """Wait until everything accepted so far is in the queue, does not belong there, or cannot get there now."""
        if self._is_closed or self._trouble or not self._is_compared.is_set():
            return
        marker = asyncio.get_running_loop().create_future()
        self._markers.add(marker)
        self._intake.put_nowait(marker)
        await marker

    def close(self) -> None:
        """Nothing is taken in any more; nobody waits for it."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        for marker in self._markers:
            _set(marker)
        self._markers.clear()

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
        await self._is_compared.wait()
        self._put_own_first()
        while True:
            taken = await self._intake.get()
            if isinstance(taken, asyncio.Future):
                self._markers.discard(taken)
                _set(taken)
            else:
                await self._take_in(taken)
            # With nothing on its way any more, A's own edit may pass.
            self._pair.dirty.add(self._hold.path)
            self._wake()

    def _put_own_first(self) -> None:
        """What one comparison found at both is decided together: A's states wait for B's, never the reverse."""
        waiting = [self._intake.get_nowait() for _ in range(self._intake.qsize())]
        for taken in sorted(waiting, key=lambda taken: isinstance(taken, _Taken) and taken.role is Role.B):
            self._intake.put_nowait(taken)

    async def _take_in(self, taken: _Taken) -> None:
        self._is_at_work = True
        delay = RETRY_FIRST_SECONDS
        try:
            while not self._is_superseded(taken) and not await self._try_to_decide(taken):
                self._let_go()
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)
        finally:
            self._trouble = ""
            self._is_at_work = False

    def _is_superseded(self, taken: _Taken) -> bool:
        # What follows a state that its replica reports again later must not overtake it.
        return taken.session != self._sessions[taken.role] or taken.session == self._broken.get(taken.role)

    async def _try_to_decide(self, taken: _Taken) -> bool:
        """Return whether the state was dealt with; if not, it is tried again."""
        try:
            async with self._mutex:
                await self._decide(taken)
        except (Unreachable, RootLost, ProtocolError):
            # The replica reports the state, and those after it, again when it is back.
            self._broken[taken.role] = taken.session
        except Refusal as error:
            # Its content is not there any more, so it never will be an update.
            self._complain(str(error))
            self._trouble = ""
            await self._release_quietly(taken)
        except DirsyncError as error:
            self._complain(str(error))
            return False
        return True

    def _complain(self, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            self._emit(EventName.ERROR, self._hold.path, {"reason": f"an update could not be held: {reason}"})

    async def _release_quietly(self, taken: _Taken) -> None:
        try:
            await self._release(taken)
        except DirsyncError:
            self._broken[taken.role] = taken.session

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
        hold = self._hold
        head = hold.updates[0] if hold.updates else None
        if hold.is_draining and head is not None and entry == head.entry and entry != hold.seen[Role.A]:
            # The drain had applied its head when the server was killed: only the record was missing.
            await self._record_head(head)
        elif hold.offer_a(entry):
            await self._enqueue(taken, is_bounded=not hold.is_draining)
        elif entry != hold.seen[Role.A]:
            await self._keep_unsent(taken)
            return
        else:
            await self._keep_unsent(None)
        await self._release(taken)
        self.has_news.set()

    async def _keep_unsent(self, taken: _Taken | None) -> None:
        """Remember A's edit that B has not received yet, in place of the one before."""
        before, self._unsent = self._unsent, taken
        if before is None:
            return
        if taken is not None and before.change.capture == taken.change.capture:
            self._unsent = replace(taken, while_apart=before.while_apart or taken.while_apart)
        else:
            await self._release(before)

    async def _enqueue(self, taken: _Taken, *, is_bounded: bool = True) -> bool:
        """Make one state the last update; False where there is no room for it."""
        entry, origin, path = taken.change.found, taken.role, self._hold.path
        assert not isinstance(entry, Untracked | Problem)
        if is_bounded and self._journal.held_bytes + size_of(entry) > self._held_bytes_max:
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


def _set(marker: "asyncio.Future[None]") -> None:
    if not marker.done():
        marker.set_result(None)
