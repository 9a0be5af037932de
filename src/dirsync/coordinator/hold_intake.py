"""How states of a locked name get into its queue: one at a time, in the order in which A received them.

Asks `core.holds` what becomes an update, brings its content into the spool and its row into the journal, and only then
releases the capture: what a replica captured is acknowledged when it is durable here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from dirsync.coordinator.hold_captures import Captures, Taken
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Entry, Problem, Role, Untracked, change_kind, size_of
from dirsync.core.events import Emit, EventName
from dirsync.core.holds import Hold, held_size_of, is_own_first
from dirsync.core.reports import Change
from dirsync.errors import DirsyncError, ProtocolError, Refusal, RootLost, Unreachable
from dirsync.limits import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.replica.interface import FullReplica


class _Met:
    """Stands in the intake after everything that a comparison with B found."""


class HoldIntake:
    """The way into the queue of one locked name.

    `mutex` is the name's own: it is held over awaits, because a durable step and its effect on the hold are one.
    `enqueued` is told the row id of each new update. `record_given` records that directory_a was given all up to one.
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
        record_given: Callable[[int], Awaitable[bool]],
        is_compared: asyncio.Event,
    ) -> None:
        self.is_full = False
        self.has_news = asyncio.Event()
        self._hold = hold
        self._mutex = mutex
        self._journal = journal
        self._pair = pair
        self._captures = Captures(replicas)
        self._emit = emit
        self._held_bytes_max = held_bytes_max
        self._wake = wake
        self._enqueued = enqueued
        self._record_given = record_given
        self._is_compared = is_compared
        self._intake: asyncio.Queue[Taken | _Met | asyncio.Future[None]] = asyncio.Queue()
        self._markers: set[asyncio.Future[None]] = set()
        self._is_at_work = False
        self._trouble = ""
        self._is_closed = False
        self._last_serial = -1
        self._sessions = dict.fromkeys(Role, 0)
        self._broken: dict[Role, int] = {}
        # States of A without a place in the queue: of an empty queue at most one, which is to pass to B; else those of
        # the start, whose place among B's is not known before B was compared too.
        self._unsent: list[Taken] = []
        self._is_met = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way into the queue."""
        return self._intake.empty() and not self._is_at_work and not self._mutex.locked()

    def take(self, role: Role, change: Change, while_apart: bool) -> None:
        """Accept a report about the held name, in order."""
        if role is Role.A:
            self._last_serial = change.serial
        is_start = not self._is_compared.is_set()
        self._intake.put_nowait(Taken(role, change, while_apart or is_start, is_start, self._sessions[role]))

    def met(self) -> None:
        """All that a comparison with B found has been accepted."""
        self._intake.put_nowait(_Met())

    def is_latest(self, serial: int) -> bool:
        """Return whether A has reported no state of the name after it had made so many reports."""
        return self._last_serial <= serial

    def supersede(self, role: Role) -> None:
        """A new snapshot of this replica: whatever of it is not in the queue yet is reported again, in order."""
        self._sessions[role] += 1
        self._captures.supersede(role)

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
            # They are no news any more, so taking them in again only releases their captures.
            while self._unsent:
                self._intake.put_nowait(self._unsent.pop(0))

    async def run(self) -> None:
        """Put what was accepted into the queue, one at a time, until cancelled."""
        await self._is_compared.wait()
        self._put_own_first()
        while True:
            taken = await self._intake.get()
            if isinstance(taken, asyncio.Future):
                self._markers.discard(taken)
                _set(taken)
            elif isinstance(taken, _Met):
                self._is_met = True
                await self._persist(self.place_unsent)
            elif not self._is_superseded(taken):
                await self._persist(partial(self._take_in, taken))
            # With nothing on its way any more, A's own edit may pass.
            self._pair.replan(self._hold.path)
            self._wake()

    def _put_own_first(self) -> None:
        """What one comparison found at both is decided together: A's states wait for B's, never the reverse."""
        waiting = [self._intake.get_nowait() for _ in range(self._intake.qsize())]
        for taken in sorted(waiting, key=lambda taken: not (isinstance(taken, Taken) and taken.role is Role.A)):
            self._intake.put_nowait(taken)

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this, again and again where the disk or the database hinders it."""
        self._is_at_work = True
        delay = RETRY_FIRST_SECONDS
        try:
            while not await self._try(work):
                self._let_go()
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)
        finally:
            self._trouble = ""
            self._is_at_work = False

    async def _try(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with self._mutex:
                await work()
        except DirsyncError as error:
            self._complain(str(error))
            return False
        return True

    def _is_superseded(self, taken: Taken) -> bool:
        # What follows a state that its replica reports again later must not overtake it.
        return taken.session != self._sessions[taken.role] or taken.session == self._broken.get(taken.role)

    async def _take_in(self, taken: Taken) -> None:
        """Deal with a state. Raises a DirsyncError where it is to be tried again."""
        if self._is_superseded(taken):
            return
        try:
            await self._decide_or_drop(taken)
        except (Unreachable, RootLost, ProtocolError):
            # The replica reports the state, and those after it, again when it is back.
            self._broken[taken.role] = taken.session

    async def _decide_or_drop(self, taken: Taken) -> None:
        try:
            await self._decide(taken)
        except Refusal as error:
            # Its content is not there any more, so it never will be an update. One of which nothing is there was
            # captured for an earlier lock: what this lock found has been captured anew.
            if self._captures.is_damaged:
                self._complain(str(error))
                self._trouble = ""
            await self._captures.release(taken)

    def _complain(self, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            self._emit(EventName.ERROR, self._hold.path, {"reason": f"an update could not be held: {reason}"})

    async def _decide(self, taken: Taken) -> None:
        if isinstance(taken.change.found, Untracked | Problem):
            return
        if taken.role is Role.A:
            await self._decide_a(taken)
        else:
            await self._decide_b(taken)

    async def _decide_b(self, taken: Taken) -> None:
        hold, entry = self._hold, taken.entry
        if hold.is_draining:
            # Not received before the unlock was asked: an ordinary change when the drain has ended.
            await self._captures.release(taken)
            return
        present_a = self._last_of_a
        if hold.offer_b(entry, present_a):
            while self._unsent and is_own_first(self._unsent[0].entry, entry, self._unsent[0].while_apart):
                if not await self._place_oldest_unsent():
                    break
            else:
                await self._enqueue(taken)
        elif not hold.updates and entry == present_a:
            hold.agree(entry)
            await self._journal.set_seen(hold.path, hold.seen)
        await self._captures.release(taken)

    async def _decide_a(self, taken: Taken) -> None:
        hold, entry = self._hold, taken.entry
        is_news = True
        if taken.change.given:
            # Where the drain was interrupted then, only the record was missing.
            is_news = await self._record_given(taken.change.given)
        elif not hold.updates and entry != hold.seen[Role.A]:
            await self._keep_unsent(taken)
            return
        elif not hold.updates:
            await self._forget_unsent()
        elif entry != self._last_of_a:
            if taken.is_from_start and not self._is_met and not hold.is_draining:
                self._unsent.append(taken)
                return
            await self.place_unsent()
            await self._enqueue(taken, is_bounded=not hold.is_draining)
        if not any(taken.change.capture == unsent.change.capture for unsent in self._unsent):
            await self._captures.release(taken)
        if is_news:
            self.has_news.set()

    @property
    def _last_of_a(self) -> Entry | None:
        return self._unsent[-1].entry if self._unsent else self._hold.seen[Role.A]

    async def _keep_unsent(self, taken: Taken) -> None:
        """Remember A's edit that B has not received yet, in place of the one before."""
        while_apart = taken.while_apart or any(unsent.while_apart for unsent in self._unsent)
        self._unsent = [unsent for unsent in self._unsent if unsent.change.capture != taken.change.capture]
        await self._forget_unsent()
        self._unsent = [replace(taken, while_apart=while_apart)]

    async def _forget_unsent(self) -> None:
        while self._unsent:
            await self._captures.release(oldest := self._unsent[0])
            self._unsent = [one for one in self._unsent if one is not oldest]  # it may have passed to B meanwhile

    async def place_unsent(self) -> None:
        """Where there is a queue, A's states that waited for their place among B's come next. Holds the mutex.

        Raises DirsyncError where they cannot be held now.
        """
        while self._unsent and self._hold.updates:
            if not await self._place_oldest_unsent():
                await self._forget_unsent()

    async def _place_oldest_unsent(self) -> bool:
        """Make A's oldest state without a place the next update; False where there is no room for it."""
        oldest = self._unsent[0]
        try:
            if not await self._enqueue(oldest):
                return False
        except Refusal as error:
            # Its content is not there any more; what stands in the directory is captured by the drain.
            self._complain(str(error))
        self._unsent = [one for one in self._unsent if one is not oldest]
        await self._captures.release(oldest)
        return True

    async def _enqueue(self, taken: Taken, *, is_bounded: bool = True) -> bool:
        """Make one state the last update; False where there is no room for it."""
        entry, origin, path = taken.change.found, taken.role, self._hold.path
        assert not isinstance(entry, Untracked | Problem)
        if is_bounded and self._journal.held_bytes + held_size_of(entry) > self._held_bytes_max:
            if not self.is_full:
                self.is_full = True
                reason = "held updates have reached [locks] max_size; unlock something, then B's version follows"
                self._emit(EventName.NOTICE, path, {"reason": reason})
            return False
        self.is_full = False
        kind = change_kind(self._hold.seen[origin], entry)
        update = await self._journal.enqueue(self._hold, origin, entry, kind, self._captures.content(taken))
        self._hold.enqueue(update)
        self._enqueued(update.id)
        fields = {"change": kind.value, "size": size_of(entry), "depth": self._hold.depth}
        self._emit(EventName.QUEUED, path, fields)
        return True


def _set(marker: "asyncio.Future[None]") -> None:
    if not marker.done():
        marker.set_result(None)
