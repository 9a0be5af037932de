"""From hints to settled entries: the paths that may have changed are looked at until each is settled or set aside.

Owns the looks: when they begin, what they may cost, who waits for them. What a look means is drawn by `concluding`;
what blocks runs in worker threads (`looking`). Everything here runs on the event loop.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from dirsync.core.entry import Problem, Untracked
from dirsync.core.paths import RelPath
from dirsync.core.reports import Change
from dirsync.disk.probe import Gone
from dirsync.disk.scan import Scan, scan
from dirsync.errors import RootLost
from dirsync.replica.capturing import HeldStates
from dirsync.replica.concluding import Conclusions
from dirsync.replica.looking import Ask, Large, Outcome, look_alone, look_at
from dirsync.replica.pending import Lead, Pending
from dirsync.replica.site import Site
from dirsync.replica.threads import LOOKS

_BATCH_PATHS = 256
_SLOW_SECONDS = 0.05
"""A batch that takes longer than this is held up by something: a second one begins beside it. Not sooner, because
two threads that read small files slow each other down."""
_PATIENCE_SECONDS = 0.2
"""A large file that is written to again and again is looked at after this all the same: is it being written?"""


class Settling:
    """The looks of one replica. `run` does them; the other methods say where, and wait."""

    def __init__(self, site: Site, holds_max: int, on_lost: Callable[[str], None]) -> None:
        self._site = site
        self._on_lost = on_lost
        self._pending = Pending()
        self.holds = HeldStates(site, holds_max, self.hint)
        self.conclusions = Conclusions(site, self._pending, self.holds, self._hint_after, self.hint_tree)
        self._trees: dict[RelPath, int] = {}
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._slots = LOOKS
        self._begun = 0.0
        self._generation = 0
        self.is_reporting = False

    # What others ask for

    def hint(self, paths: Iterable[RelPath], lead: Lead = Lead.HINT, number: int | None = None) -> None:
        """Have these paths looked at, as part of the round that led to them (else of the present one)."""
        now = self._now()
        for path in paths:
            self._pending.hint(path, now, lead, number)
        self._wake.set()

    def hint_tree(self, path: RelPath, number: int | None = None) -> None:
        """Have everything in a directory compared, as part of the round that led to it (else of the present one)."""
        before = self._trees.get(path)
        if before is None or (number is not None and number < before):
            self._trees[path] = self._pending.begin_walk(number)
            if before is not None:
                self._pending.end_walk(before)
        self._wake.set()

    def _hint_after(self, paths: Iterable[RelPath], number: int | None) -> None:
        self.hint(paths, number=number)

    def tell(self, paths: Iterable[RelPath]) -> None:
        """Look at these paths and report what stands there even if it is not new."""
        paths = list(paths)
        self.conclusions.tell(paths)
        self.hint(paths)

    def park(self, paths: Iterable[RelPath]) -> None:
        """Leave paths alone while an apply works on them; looks under way count for nothing."""
        self._pending.park(paths)

    def unpark(self, paths: Iterable[RelPath]) -> None:
        """The apply is over: look again where something hinted meanwhile."""
        self._pending.unpark(paths)
        self._wake.set()

    async def wait_looked(self) -> None:
        """Wait until everything hinted at before this call was looked at. Raises RootLost."""
        number = self._pending.next_round()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((number, waiter))
        self._release_waiters()
        await waiter

    async def wait_listed(self, seconds: float | None) -> None:
        """As `wait_looked`, but after so many seconds also where paths that are known still wait for their look.

        Not while a walk may find further ones, nor while a held name waits: when it was changed is only known then.
        """
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self.wait_looked()
            except TimeoutError:
                if self._pending.is_listing or any(path in self._pending for path in self.holds.names()):
                    continue
            return

    def distrust(self, paths: Iterable[RelPath]) -> None:
        """Have these read, whatever their stat says: somebody found another content there."""
        paths = list(paths)
        self.conclusions.distrust(paths)
        self.hint(paths)

    async def wait_confirmed(self) -> None:
        """Wait until every content that was taken over without a reading has been read. Raises RootLost."""
        if unconfirmed := self.conclusions.unconfirmed():
            self.hint(unconfirmed)
            await self.wait_looked()

    def take_scan(self, found: Scan, number: int | None = None) -> None:
        """Have looked at what a scan found suspicious, or a walk in the round of `number`."""
        # By directory, so that a batch walks to few of them.
        self.hint(sorted(found.suspects), Lead.SCAN if number is None else Lead.WALK, number)
        now = self._now()
        for path, reason in found.untracked.items():
            self.conclusions.note_oddity(path, Untracked(reason), now)
        for path, reason in found.unreadable.items():
            if self.conclusions.oddities.set_unlisted(path, reason):
                self._site.outbox.change(Change(path, Problem(reason)), now)

    def recheck_oddities(self, found: Scan) -> None:
        """After a full scan: look again at what was odd and may not be any more."""
        self.hint(self.conclusions.oddities.gone_after(found), Lead.SCAN)

    def reset(self, reason: str) -> None:
        """Forget everything that waits: the root is lost. Whoever waits gets RootLost."""
        self._generation += 1
        self._pending.clear()
        self._trees.clear()
        self.conclusions.clear()
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(RootLost(reason))

    # The work

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as jobs:
            while True:
                self._wake.clear()
                self._start_due(jobs)
                due = self._next_due()
                timer = None if due is None else loop.call_at(due, self._wake.set)
                await self._wake.wait()
                if timer is not None:
                    timer.cancel()

    def _start_due(self, jobs: asyncio.TaskGroup) -> None:
        while self._has_slot() and not self._site.is_lost:
            paths = self._pending.take(_BATCH_PATHS, self._now())
            trees, self._trees = self._trees, {}
            if not paths and not trees:
                return
            self._slots -= 1
            self._begun = self._now()
            jobs.create_task(self._batch(jobs, paths, trees), name="looks")

    def _has_slot(self) -> bool:
        return self._slots == LOOKS or (self._slots > 0 and self._now() >= self._begun + _SLOW_SECONDS)

    def _next_due(self) -> float | None:
        """Return when there may be something to start, if nothing else happens before."""
        if self._slots == 0 or self._site.is_lost:
            return None
        is_ready = self._pending.has_dirty or bool(self._trees)
        due = self._now() if is_ready else self._pending.next_due()
        if due is not None and self._slots < LOOKS:
            due = max(due, self._begun + _SLOW_SECONDS)
        return due

    async def _batch(self, jobs: asyncio.TaskGroup, paths: list[RelPath], trees: dict[RelPath, int]) -> None:
        generation = self._generation
        try:
            if paths:
                asks = [self.conclusions.ask(path) for path in paths]
                root, vanished = self._site.ground.root, self.conclusions.vanished.at_inode
                outcomes = await self._site.threads.look(partial(look_at, root, asks, vanished, self.is_reporting))
                await self._settle_all(jobs, list(zip(asks, outcomes, strict=True)), generation)
            for tree, number in trees.items():
                await self._walk(tree, number)
        except RootLost as lost:
            if generation == self._generation:
                self._on_lost(str(lost))
        finally:
            self._slots += 1
            if generation == self._generation:
                for number in trees.values():
                    self._pending.end_walk(number)
                self._release_waiters()
            self._wake.set()

    async def _large(self, path: RelPath, wait_seconds: float) -> None:
        """Look at a large file in a job of its own, not before one reading is enough: another would take as long."""
        generation = self._generation
        waited = 0.0
        try:
            while True:
                await asyncio.sleep(wait_seconds)
                if generation != self._generation:
                    return
                waited += wait_seconds
                # Asked when the reading begins: whatever gave reason to read it until then has been met by it.
                ask = self.conclusions.ask(path)
                may_wait = waited < _PATIENCE_SECONDS
                look = partial(look_alone, self._site.ground.root, ask, self.is_reporting, may_wait=may_wait)
                outcome = await self._site.threads.look_at_large(look)
                if not isinstance(outcome, Large):
                    break
                wait_seconds = outcome.wait_seconds
            if generation == self._generation:
                await self.conclusions.conclude(ask, outcome)
                self._release_waiters()
        except RootLost as lost:
            if generation == self._generation:
                self._on_lost(str(lost))
        finally:
            self._wake.set()  # it may have to be looked at again

    async def _walk(self, tree: RelPath, number: int) -> None:
        site, generation = self._site, self._generation
        root, known, ignores = site.ground.root, site.index.known, site.rules.ignores
        found = await site.threads.bulk(partial(scan, root, known, ignores, tree))
        if generation == self._generation:
            self.take_scan(found, number)

    async def _settle_all(self, jobs: asyncio.TaskGroup, looks: list[tuple[Ask, Outcome]], generation: int) -> None:
        # What is gone comes first: a new name of it is reported together with its going.
        for ask, outcome in sorted(looks, key=lambda look: not isinstance(look[1], Gone)):
            if generation != self._generation:
                return  # the root was lost while one of them was recorded
            if isinstance(outcome, Large):
                self._pending.looked(ask.path)
                jobs.create_task(self._large(ask.path, outcome.wait_seconds), name="look at a large file")
            else:
                await self.conclusions.conclude(ask, outcome)

    def _release_waiters(self) -> None:
        oldest = self._pending.oldest_round
        for number, waiter in self._waiters:
            if number < oldest and not waiter.done():
                waiter.set_result(None)
        self._waiters = [(number, waiter) for number, waiter in self._waiters if not waiter.done()]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
