"""A coordinator with a real database between two replicas in memory, and everything it said.

Replicas can be lost, be slow, and give other results than a directory would; people's edits are their plain methods.
"""

import asyncio
from collections import deque

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.loop import Coordinator
from dirsync.coordinator.tally import Tally
from dirsync.core.entry import Role
from dirsync.core.events import Event
from dirsync.core.reports import Look
from dirsync.disk.spool import Spool
from dirsync.errors import RootLost, Unreachable
from dirsync.replica.interface import unheard
from dirsync.store.database import Database
from tests.support.fake_replica import FakeReplica

SECONDS_MAX = 300.0


class RiggedReplica(FakeReplica):
    """A replica in memory that fails on demand.

    `results[path]` are given instead of applying, one after the other; an error among them is raised. `failing` maps a
    method's name to an error it raises. `gates` maps a method's name to an event it waits for (`applied`: when an apply
    was done). `calls` counts.
    """

    def __init__(self, role):
        super().__init__(role)
        self.results = {}
        self.failing = {}
        self.gates = {}
        self.calls = {}
        self.unsettled = ()
        self.fetched = []
        self.supplied = 0
        self.steps = []
        self._is_cut = False

    def cut(self):
        """Nobody answers there any more."""
        self._is_cut = True
        self._has_reports.set()

    def join(self):
        """It can be reached again."""
        self._is_cut = False

    async def _enter(self, method):
        self.calls[method] = self.calls.get(method, 0) + 1
        if method in self.gates:
            await self.gates[method].wait()
        await asyncio.sleep(0)
        if self._is_cut:
            raise Unreachable("the connection was lost")
        if method in self.failing:
            raise self.failing[method]

    async def reports(self):
        while not self._reports:
            if self._is_cut:
                raise Unreachable("the connection was lost")
            self._has_reports.clear()
            await self._has_reports.wait()
        await self._enter("reports")
        return await super().reports()

    async def snapshot(self, believed=()):
        self.believed = dict(believed)
        await self._enter("snapshot")
        async for batch in super().snapshot(believed):
            await self._enter("part")
            yield batch

    async def look(self, is_full):
        await self._enter("look full" if is_full else "look")
        look = await super().look(is_full)
        return Look(self.unsettled, look.files, look.size, look.reported)

    async def fetch(self, refs):
        await self._enter("fetch")
        self.fetched += [ref.path for ref in refs]
        return await super().fetch(refs)

    async def supply(self, ref, offset):
        await self._enter("supply")
        async for chunk in super().supply(ref, offset):
            await self._enter("chunk")
            self.supplied += len(chunk)
            yield chunk

    async def stage(self, digest, size):
        await self._enter("stage")
        return await super().stage(digest, size)

    async def put(self, digest, size, offset, chunks, arrived=unheard, base=None):
        await self._enter("put")
        return await super().put(digest, size, offset, chunks, arrived)

    async def hold(self, names):
        await self._enter("hold")
        await super().hold(names)

    async def unhold(self, paths):
        await self._enter("unhold")
        await super().unhold(paths)

    async def release(self, captures):
        await self._enter("release")
        await super().release(captures)

    async def apply(self, steps):
        await self._enter("apply")
        self.steps += steps
        results = await super().apply(steps)
        if "applied" in self.gates:
            await self.gates["applied"].wait()
        return results

    def _apply(self, step):
        planned = self.results.get(step.action.path)
        if planned:
            result = planned.popleft()
            if isinstance(result, Exception):
                raise result
            return result
        return super()._apply(step)

    def gives(self, path, *results):
        """Have the next applies of a path end like this."""
        self.results[path] = deque(results)

    def tree(self):
        """Return what stands here."""
        return {path: (standing.entry, standing.content) for path, standing in self._tree.items()}

    def steps_for(self, path):
        """Return the steps that were to be applied to a path, in order."""
        return [step for step in self.steps if step.action.path == path]


class World:
    """Two replicas and their coordinator; enter it, and attach the replicas."""

    def __init__(self, state, held_bytes_max=1_000_000):
        self._database = Database.open(state)
        self.events = []
        self.replicas = {role: RiggedReplica(role) for role in Role}
        self.tally = Tally()
        self.archive = ArchiveWriter(self._database, self._emit)
        spool = Spool(state / "spool")
        journal = HoldJournal(self._database, spool, lambda: 1)
        self.coordinator = Coordinator(self.archive, journal, self.tally, self._emit, held_bytes_max)
        self._running = None
        self._attached = {}

    @property
    def a(self):
        return self.replicas[Role.A]

    @property
    def b(self):
        return self.replicas[Role.B]

    @property
    def database(self):
        return self._database

    def _emit(self, name, path, fields):
        self.events.append(Event(0, Role.A, name, path, dict(fields)))

    def said(self, name, path=None):
        """Return the fields of what was said under this name, about this path if one is given."""
        return [e.fields for e in self.events if e.name == name and path in (None, e.path)]

    async def __aenter__(self):
        await self.coordinator.load(lambda items: [])
        self._running = asyncio.create_task(self.coordinator.run(), name="coordinator")
        return self

    async def __aexit__(self, *_):
        for role in list(self._attached):
            await self.detach(role)
        self._running.cancel()
        (ended,) = await asyncio.gather(self._running, return_exceptions=True)
        self._database.close()
        assert isinstance(ended, asyncio.CancelledError), ended

    def attach(self, *roles):
        """Lend these replicas to the coordinator."""
        for role in roles:
            self.replicas[role].join()
            attaching = self.coordinator.attach(role, self.replicas[role])
            self._attached[role] = asyncio.create_task(attaching, name=f"attach {role}")

    async def detach(self, role):
        """Take a replica away."""
        self._attached[role].cancel()
        await self.ended(role)

    async def ended(self, role):
        """Wait until a replica is no longer lent, and return why."""
        (ended,) = await asyncio.gather(self._attached.pop(role), return_exceptions=True)
        assert isinstance(ended, Unreachable | RootLost | asyncio.CancelledError), ended
        return ended

    async def lose(self, role):
        """Cut a replica off and wait until the coordinator knows; return what it was told."""
        self.replicas[role].cut()
        return await self.ended(role)

    async def until(self, condition):
        """Let things happen until this is so; TimeoutError where it never is."""
        async with asyncio.timeout(SECONDS_MAX):
            while not condition():
                await asyncio.sleep(0.01)

    async def settle(self):
        """Wait until in sync, and compare."""
        async with asyncio.timeout(SECONDS_MAX):
            await self.coordinator.wait_in_sync()
        assert self.a.tree() == self.b.tree()

    async def start(self):
        """Attach both and wait until in_sync was said."""
        self.attach(*Role)
        await self.settle()
        await self.until(lambda: self.coordinator.is_in_sync)
