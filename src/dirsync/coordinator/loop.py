"""Server A's heart: reports come in, plans go out, until nothing is open.

Attaches replicas, keeps the pair's knowledge current, plans what is dirty, and says `in_sync` when it is true. Which
of the replicas is remote is not known here. What is decided is in `core`; how it is applied, in the lanes.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import assert_never

from dirsync.coordinator.archive_writer import ArchiveWriter, Rows
from dirsync.coordinator.conflicts import Conflicts
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.holds import Holds
from dirsync.coordinator.lane import Lane
from dirsync.coordinator.looks import Looks, is_settled
from dirsync.coordinator.pair import Pair
from dirsync.coordinator.tally import Tally
from dirsync.coordinator.telling import Telling
from dirsync.core.entry import Entry, Role
from dirsync.core.events import Emit, EventName
from dirsync.core.paths import RelPath
from dirsync.core.plan import plan
from dirsync.core.reports import DROPPED, Back, Change, Look, Lost, Report, without_superseded
from dirsync.errors import DirsyncError, RootLost
from dirsync.limits import BATCH_ACTIONS_MAX
from dirsync.replica.interface import FullReplica

_SETTLE_RETRY_SECONDS = 0.1
"""How soon to look again at files that were being written when everything else was done."""

_PLAN_PATHS_MAX = 50_000
"""Paths of one plan: about half a second of work."""


class Coordinator:
    """Keeps two replicas the same. `run` does the work; `attach` lends it a replica while that can be reached."""

    def __init__(
        self, archive: ArchiveWriter, journal: HoldJournal, tally: Tally, emit: Emit, held_bytes_max: int
    ) -> None:
        self._archive = archive
        self._emit = emit
        self._wake = asyncio.Event()
        self.replicas: dict[Role, FullReplica] = {}
        self.ready: set[Role] = set()
        self.pair = Pair(self._recorded, lambda path: self.holds.is_frozen(path), self.ready)  # noqa: PLW0108 (made later)
        self.holds = Holds(journal, self.pair, self.replicas, emit, held_bytes_max, self.wake)
        self.conflicts = Conflicts(archive.database, emit)
        self._telling = Telling(archive, self.pair)
        self.lanes = {
            role: Lane(role, self.pair, self.conflicts, self._telling, tally, emit, self.holds.is_held_at, self.wake)
            for role in Role
        }
        self.is_in_sync = False
        self.paused: dict[Role, str] = {}
        self._looks = Looks(self.replicas, self.ready, self.until)
        self._since: float | None = None
        self._is_comparing = False
        self._meeting = asyncio.Lock()
        self._compared: set[Role] = set()
        self._generation = 0
        self._changed = asyncio.Condition()

    def wake(self) -> None:
        """Have the loop look at what is dirty."""
        self._wake.set()

    async def load(self, ignored_among: Callable[[Rows], list[RelPath]], standing: Rows = ()) -> None:
        """Take up the base and the locks of the last run. `standing` is what a near replica knows already.

        Names that are ignored by now leave the base: not to be seen any more is no deletion, nor is to be missing when
        they are seen again.
        """
        base = await self._archive.load(standing)
        for path in await asyncio.to_thread(ignored_among, base.items()):
            base.discard(path)
            self._archive.record(path, None)
        self.pair.load(base)
        await self._telling.load()
        await self.holds.load()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._archive.run(), name="archive")
            tasks.create_task(self.holds.run(), name="holds")
            for role, lane in self.lanes.items():
                tasks.create_task(lane.run(), name=f"lane to {role}")
            tasks.create_task(self._plan_forever(), name="plan")
            tasks.create_task(self._say_in_sync_forever(), name="in sync")
            for role in Role:
                tasks.create_task(self._tell_compared(role), name=f"comparison of {role}")

    async def _tell_compared(self, role: Role) -> None:
        """Tell the held names when everything that a comparison of this replica found is on its way to them."""
        while True:
            await self.until(lambda: role in self.ready and role not in self._compared)
            try:
                await self.look(role, is_full=False)
            except DirsyncError:
                await asyncio.sleep(_SETTLE_RETRY_SECONDS)
            else:
                self._compared.add(role)
                self.holds.compared(role)

    async def first_run(self, role: Role) -> None:
        """Forget the base, durably: another replica plays this role, and nothing that one lacks counts as deleted."""
        self._archive.clear()
        self._telling.compared()
        self.pair.first_run()
        await self.holds.first_run(role)
        await self._archive.wait_written()

    async def attach(self, role: Role, replica: FullReplica) -> None:
        """Take part with this replica until it fails, and raise what it failed with.

        That is Unreachable, or RootLost where another directory has taken its place: what is recorded of the old one
        does not belong to it.
        """
        self.replicas[role] = replica
        try:
            await self._compare(role, replica)
            while True:
                for report in without_superseded(await replica.reports()):
                    await self._take_report(role, replica, report)
                self.wake()
        finally:
            self._detach(role)

    async def _take_report(self, role: Role, replica: FullReplica, report: Report) -> None:
        if isinstance(report, Change) and report.capture and report.path not in self.holds and report.found != DROPPED:
            # Captured for a lock that has ended: it was so then. What stands there now is told after the unhold.
            self._set_in_sync(False)
            await replica.unhold([report.path])
            self._generation += 1
            report = replace(report, found=DROPPED)
        self._looks.took_report(role)
        match report:
            case Change():
                self._take_change(role, report)
            case Lost():
                self._pause(role, report.reason)
            case Back():
                if report.is_new:
                    raise RootLost("another directory stands there now, or it lost its files")
                await self._compare(role, replica)
            case _:
                assert_never(report)

    async def _compare(self, role: Role, replica: FullReplica) -> None:
        """Tell a replica what is held, and take in all it has; one whose root is lost reports when it is back."""
        try:
            await self.holds.tell_all(role, replica)
            await self.conflicts.recover(role, replica)
            # Without a base one after the other: mostly they are copies, so of the second one hardly anything is sent.
            async with nullcontext() if self.pair.views.base else self._meeting:
                await self._take_snapshot(role, replica)
        except RootLost as lost:
            self._pause(role, str(lost))
        else:
            self.paused.pop(role, None)

    def _detach(self, role: Role) -> None:
        self.replicas.pop(role, None)
        self._is_comparing = False
        self._stop_applying(role)
        self.paused.pop(role, None)
        self._looks.forget(role)
        self.pair.forget(role)
        self.wake()

    def _stop_applying(self, role: Role) -> None:
        self._set_in_sync(False)
        self.ready.discard(role)
        for lane in self.lanes.values():
            lane.close()

    def _pause(self, role: Role, reason: str) -> None:
        self.paused[role] = reason
        self._stop_applying(role)
        self.wake()

    async def _take_snapshot(self, role: Role, replica: FullReplica) -> None:
        """Compare the whole inventory: what it does not name is not there.

        Nothing is applied meanwhile: what was given after its place in the inventory had passed would count as deleted.
        """
        self._stop_applying(role)
        self._compared.discard(role)
        self._announce_comparison()
        async with self.pair.ages[role].inventory():
            now = asyncio.get_running_loop().time()
            absent = self.pair.views.paths()
            self.holds.supersede(role)
            async for batch in replica.snapshot(self.pair.believed(role)):
                absent.difference_update([path for path, _ in batch])
                self.pair.observe_all(role, batch, now)
                # A million entries are no reason to leave everything else waiting.
                await asyncio.sleep(0)
            for number, path in enumerate(absent):
                self.pair.observe(role, path, None, now)
                if number % BATCH_ACTIONS_MAX == 0:
                    await asyncio.sleep(0)
        self._looks.took_snapshot(role)
        self.ready.add(role)
        if self.ready == set(Role):
            self._is_comparing = False
            self._telling.compared()
            self.lanes[Role.A].open(self.replicas[Role.A], self.replicas[Role.B])
            self.lanes[Role.B].open(self.replicas[Role.B], self.replicas[Role.A])
            self.pair.plan_all()
        self._generation += 1
        self.wake()

    def _announce_comparison(self) -> None:
        """Say once that both are compared; one replica alone has nothing to be compared with."""
        if self._is_comparing or self.replicas.keys() != set(Role):
            return
        self._is_comparing = True
        self._since = asyncio.get_running_loop().time()
        self._emit(EventName.RECONCILING, None, {"files": self.pair.views.count_files(self.pair.files)})

    def _take_change(self, role: Role, change: Change) -> None:
        at = asyncio.get_running_loop().time() - change.age_ms / 1000
        self._generation += 1
        is_news = self.lanes[role].is_news(change.path, change.serial)
        if change.found == DROPPED or not (is_news or change.capture):
            return
        if is_news:  # a captured state has its place in the queue, also where it does not stand there any more
            if change.found != self.pair.views.get(role, change.path):
                self.pair.troubles.pop(change.path, None)
            self.pair.observe(role, change.path, change.found, at)
            if change.content is not None and self.pair.views.is_open(change.path):
                self.pair.keep_inline(role, change.path, change.content)
        self.holds.take(role, change, while_apart=Role.B not in self.ready)
        if self.pair.views.is_open(change.path):
            self._set_in_sync(False)

    def _recorded(self, path: RelPath, entry: Entry | None) -> None:
        self._archive.record(path, entry)
        self.holds.agreed(path, entry)

    def _may_act(self, path: RelPath) -> bool:
        return not self.pair.is_busy(path) and not self._is_lasting(path)

    def _is_lasting(self, path: RelPath) -> bool:
        return self.pair.is_waiting(path) or not self.holds.is_free(path)

    async def _plan_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.ready == set(Role):
                self._plan_once()
            if self.is_in_sync and self.holds.is_draining:
                self._set_in_sync(False)
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(0)

    def _plan_once(self) -> None:
        """Plan what is dirty and hand it to the lanes. Nothing awaits in here, so the views stand still.

        Of very much only a part: the connections must not fall silent meanwhile. The next part follows at once.
        """
        views = self.pair.views
        dirty, self.pair.dirty = self.pair.dirty, set()
        if len(dirty) > _PLAN_PATHS_MAX:
            part = set(islice(dirty, _PLAN_PATHS_MAX))
            dirty, self.pair.dirty = part, dirty - part
            self.wake()
        planned = plan(views, filter(views.is_open, dirty), self._may_act, self._is_lasting, self.pair.arriving)
        for path, entry in planned.agreed:
            self.pair.agree(path, entry)
        self.pair.leave(planned.hindered, planned.arriving)
        for role in Role:
            self.lanes[role].add(planned.actions[role])

    def _set_in_sync(self, is_in_sync: bool) -> None:
        if is_in_sync:
            now = asyncio.get_running_loop().time()
            since, self._since = now if self._since is None else self._since, None
            self._emit(EventName.IN_SYNC, None, {"files": self.pair.files, "ms": round((now - since) * 1000, 3)})
        elif self._since is None:
            self._since = asyncio.get_running_loop().time()
        self.is_in_sync = is_in_sync

    @property
    def unsettled(self) -> Mapping[Role, list[RelPath]]:
        """The paths that each replica, when it last looked, saw being written."""
        return self._looks.unsettled

    def pending(self) -> list[RelPath]:
        """Return the paths that are not in sync, held ones aside."""
        return list(self._pending())

    def _pending(self) -> Iterator[RelPath]:
        aside = self.holds.aside()
        return (path for path in self.pair.views.opened() if path not in aside)

    def _is_quiet(self) -> bool:
        # Looked at on every wake: with thousands of paths open it ends at the first of them.
        is_idle = self.ready == set(Role) and self.pair.is_idle and self.holds.is_quiet
        return is_idle and next(self._pending(), None) is None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is looked at whenever something has happened."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def look(self, role: Role, is_full: bool) -> Look:
        """Have a replica look, and take in everything it saw. Raises Unreachable, RootLost, or what hindered it."""
        return await self._looks.look(role, is_full)

    async def _say_in_sync_forever(self) -> None:
        """Say `in_sync` when nothing is pending and both replicas, asked once more, have nothing new."""
        while True:
            await self.until(lambda: not self.is_in_sync and self._is_quiet())
            generation = self._generation, self.holds.ends
            looks = await self._looks.look_at_both(is_full=False)
            # What is in sync stays so: deleted after a crash right now, it is a deletion and not a first run.
            await self._archive.wait_written()
            if not is_settled(looks):
                await asyncio.sleep(_SETTLE_RETRY_SECONDS)
            elif generation == (self._generation, self.holds.ends) and self._is_quiet():
                self._set_in_sync(True)
                self.wake()

    async def wait_in_sync(self) -> None:
        """Wait until both directories are the same, whatever was changed before this call included."""
        is_full = True
        while True:
            await self.until(lambda: self.ready == set(Role))
            looks = await self._looks.look_at_both(is_full)
            is_full = is_full and looks is None
            if not is_settled(looks):
                await asyncio.sleep(_SETTLE_RETRY_SECONDS)
                continue
            await self.until(lambda: self._is_quiet() or self.ready != set(Role))
            ends = self.holds.ends
            if self._is_quiet() and (self.is_in_sync or is_settled(await self._looks.look_at_both(is_full=False))):
                await self._archive.wait_written()
                if self._is_quiet() and ends == self.holds.ends:
                    return
