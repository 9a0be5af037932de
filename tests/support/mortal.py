"""A server that is killed at a chosen step, and what outlives it: database and spool on disk, and both replicas.

A step is a transaction, a change of the spool, or a call to a replica; a server can be killed before and after each.
"""

import asyncio
from contextlib import contextmanager, suppress

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.loop import Coordinator
from dirsync.coordinator.tally import Tally
from dirsync.core.entry import Role
from dirsync.core.reports import Applied, Change, Failed
from dirsync.disk.spool import Spool
from dirsync.errors import Unreachable
from dirsync.store import hold_rows
from dirsync.store.database import Database
from tests.support.fake_replica import FakeReplica

HELD_BYTES_MAX = 1_000_000


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Death:
    """Comes at the `at`-th step, in whichever thread; from then on every step fails. None: never."""

    def __init__(self, at=None):
        self._at = at
        self._loop = asyncio.get_running_loop()
        self.steps = []
        self.has_come = False
        self.came = asyncio.Event()

    def step(self, name):
        if not self.has_come:
            self.steps.append(name)
            self.has_come = len(self.steps) == self._at
        if self.has_come:
            self._loop.call_soon_threadsafe(self.came.set)
            raise Killed(name)


class Cut(Death):
    """Not the server ends at the `at`-th step but its connection to a replica, for good."""

    def step(self, name):
        if not self.has_come:
            self.steps.append(name)
            self.has_come = len(self.steps) == self._at
        if self.has_come:
            self.came.set()
            raise Unreachable(f"the connection was lost {name}")


class _MortalDatabase:
    def __init__(self, database, death):
        self._database = database
        self._death = death

    @contextmanager
    def transaction(self, **how):
        self._death.step("before a transaction")
        with self._database.transaction(**how) as connection:
            yield connection
        self._death.step("after a transaction")


class _MortalSpoolFile:
    def __init__(self, file, death):
        self._file = file
        self._death = death
        self.name = file.name

    def write(self, data):
        self._death.step("before a spool write")
        self._file.write(data)

    def finish(self, digest):
        is_good = self._file.finish(digest)
        self._death.step("after the spool file")
        return is_good

    def abandon(self):
        # What a killed process leaves is left.
        if not self._death.has_come:
            self._file.abandon()


class _MortalSpool(Spool):
    def __init__(self, directory, death):
        super().__init__(directory)
        self._death = death

    def create(self):
        return _MortalSpoolFile(super().create(), self._death)

    def remove(self, names):
        self._death.step("before removing a spool file")
        super().remove(names)


class LastingReplica(FakeReplica):
    """A replica in memory that holds names as a near one does, and remembers every state its names were in."""

    def __init__(self, role):
        super().__init__(role)
        self.captured_count = 0
        self.states = []
        self._given = {}

    async def hold(self, names):
        for name in names:
            if name.path in self._given:
                self._tell_given(name.path)
        pending = {path for path, _ in self._captures.values()}
        for name in names:
            if name.path not in self._held or name.path not in pending:
                self._held[name.path] = name.seen
            if self._at(name.path).entry != self._held[name.path]:
                self._capture(name.path)

    async def unhold(self, paths):
        untold = {path for path, _ in self._captures.values() if path in paths}
        await super().unhold(paths)
        for path in paths:
            self._given.pop(path, None)
        for path in untold:
            self._report(Change(path, self._at(path).entry))

    def _capture(self, path):
        if path in self._given:
            self._tell_given(path)
        self.captured_count += 1
        standing = self._at(path)
        self._captures[self.captured_count] = path, standing
        self._held[path] = standing.entry
        self._report(Change(path, standing.entry, capture=self.captured_count))

    def _tell_given(self, path):
        self.captured_count += 1
        update, standing = self._given.pop(path)
        self._captures[self.captured_count] = path, standing
        self._given_captures[self.captured_count] = update
        self._report(Change(path, standing.entry, capture=self.captured_count, given=update))

    def _apply(self, step):
        result = super()._apply(step)
        path = step.action.path
        if path in self._held and isinstance(result, Applied):
            self._held[path] = self._at(path).entry
            if step.update:
                self._given[path] = step.update, self._at(path)
        return result

    def _put(self, path, standing):
        if standing.entry != self._at(path).entry:
            self.states.append((path, standing.content))
        super()._put(path, standing)


class _Reached:
    """A replica as a mortal server reaches it: each call may be the last, before or after it was done."""

    def __init__(self, replica, death):
        self._replica = replica
        self._death = death
        self.role = replica.role

    async def reports(self):
        reading = asyncio.ensure_future(self._replica.reports())
        ending = asyncio.create_task(self._death.came.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            self._death.step("after reports")
            return reading.result()
        finally:
            reading.cancel()
            ending.cancel()

    async def snapshot(self, believed=()):
        async for batch in self._replica.snapshot(believed):
            yield batch

    async def apply(self, steps):
        """A kill between two steps leaves the first one done."""
        results, broken = [], set()
        self._death.step("before apply")
        for step in steps:
            if step.action.path in broken:
                results.append(Failed("the step before it was not done"))
                continue
            results += await self._replica.apply([step])
            self._death.step("after a step of an apply")
            if not isinstance(results[-1], Applied):
                broken.add(step.action.path)
        return results

    async def supply(self, ref, offset):
        async for chunk in self._replica.supply(ref, offset):
            self._death.step("before a chunk")
            yield chunk

    def __getattr__(self, name):
        method = getattr(self._replica, name)
        if name in {"look", "fetch", "stage", "history", "restore"}:
            return method

        async def call(*arguments):
            self._death.step(f"before {name}")
            result = await method(*arguments)
            self._death.step(f"after {name}")
            return result

        return call


class Life:
    """One run of Server A on what outlives it. `cut` ends its first connection to Server B."""

    def __init__(self, directory, replicas, death, cut=None):
        self._directory = directory
        self._replicas = replicas
        self._death = death
        self._cut = cut
        self._database = None
        self._tasks = []
        self.coordinator = None
        self.events = []

    async def __aenter__(self):
        self._database = Database.open(self._directory)
        database = _MortalDatabase(self._database, self._death)
        journal = HoldJournal(database, _MortalSpool(self._directory / "spool", self._death), lambda: 1)
        self.coordinator = Coordinator(
            ArchiveWriter(database, self._emit), journal, Tally(), self._emit, HELD_BYTES_MAX
        )
        return self

    def _emit(self, name, path, fields):
        self.events.append((name, path, dict(fields)))

    async def live(self, story):
        """Start, and go through a story; return whether it came to its end."""
        telling = asyncio.create_task(self._tell(story), name="story")
        death = asyncio.create_task(self._death.came.wait(), name="death")
        await asyncio.wait({telling, death}, return_when=asyncio.FIRST_COMPLETED)
        is_told = telling.done() and telling.exception() is None
        for task in (telling, death):
            task.cancel()
        with suppress(asyncio.CancelledError, Killed):
            await telling
        return is_told

    async def _tell(self, story):
        await self.coordinator.load(lambda items: [])
        self._tasks.append(asyncio.create_task(self.coordinator.run(), name="coordinator"))
        for role in Role:
            self._tasks.append(asyncio.create_task(self._lend(role), name=f"attach {role}"))
        await story(self.coordinator)

    async def _lend(self, role):
        if role is Role.B and self._cut is not None:
            with suppress(Unreachable):
                await self.coordinator.attach(role, _Reached(self._replicas[role], self._cut))
        await self.coordinator.attach(role, _Reached(self._replicas[role], self._death))

    async def __aexit__(self, *_):
        tasks = {*self._tasks, *asyncio.all_tasks()} - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._database.close()

    def queue(self):
        """Return the sizes of all held updates, in order, as the database has them."""
        with self._database.transaction() as connection:
            return [row.size for row in hold_rows.load_updates(connection)]
