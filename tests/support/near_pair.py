"""Both servers' inside in one process: two real replicas, the real coordinator, and a link in memory between them.

Everything is real but the process and the socket: directories, watchers, databases, spool, wire format. A server that
"dies" here is cancelled wherever it is, and what it has written is all that the next one finds.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.loop import Coordinator
from dirsync.coordinator.tally import Tally
from dirsync.core.entry import File, Role
from dirsync.core.events import EventName
from dirsync.disk.spool import Spool
from dirsync.errors import DirsyncError, Unreachable
from dirsync.replica.local import LocalReplica
from dirsync.replica.remote import RemoteReplica
from dirsync.replica.serve import ReplicaServer
from dirsync.run.role_a import attach
from dirsync.store import hold_rows
from dirsync.store.database import Database
from tests.support.memory_link import joined

SECONDS_MAX = 20.0


class _Server:
    """One running server: its replica and whatever else lives as long."""

    def __init__(self):
        self.exit = AsyncExitStack()
        self.database = None
        self.replica = None
        self.coordinator = None
        self.tasks = []

    def start(self, work, name):
        self.tasks.append(asyncio.create_task(work, name=name))

    async def end(self):
        # What a request began is carried through, and may be done by now; the others work until they are ended.
        carried = [*self.coordinator.holds._carried, *self.coordinator.holds._telling] if self.coordinator else []
        for task in (*self.tasks, *carried):
            task.cancel()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError | DirsyncError), ended
        for ended in await asyncio.gather(*carried, return_exceptions=True):
            is_failed = isinstance(ended, BaseException)
            assert not is_failed or isinstance(ended, asyncio.CancelledError | DirsyncError), ended
        await self.exit.aclose()


class NearPair:
    """Two directories below `base`. Start and end the servers, join and part them; people use `root`."""

    def __init__(self, base, held_bytes_max=10_000_000):
        self._base = Path(base)
        self._held_bytes_max = held_bytes_max
        self.running = {}
        self.events = []
        self._link = None
        for role in Role:
            self.root(role).mkdir(parents=True)

    def root(self, role):
        """Return the directory of a server."""
        return self._base / f"directory_{role}"

    def state(self, role):
        """Return the state directory of a server."""
        return self._base / "state" / role

    @property
    def coordinator(self):
        return self.running[Role.A].coordinator

    def replica(self, role):
        return self.running[role].replica

    def said(self, name, path=None):
        """Return the fields of what Server A said under this name."""
        return [fields for role, n, p, fields in self.events if (role, n) == (Role.A, name) and path in (None, p)]

    # Life and death.

    async def start(self, *roles):
        for role in roles:
            server = _Server()
            server.database = Database.open(self.state(role))
            server.exit.callback(server.database.close)
            server.replica = await server.exit.enter_async_context(self._replica(role, server.database))
            if role is Role.A:
                await self._coordinate(server)
            self.running[role] = server

    def _replica(self, role, database):
        most = 2**62 if role is Role.A else self._held_bytes_max
        emit = self._emit_for(role)
        return LocalReplica(role, os.fspath(self.root(role)), self.state(role), database, emit, locks_max_bytes=most)

    async def _coordinate(self, server):
        emit, database = self._emit_for(Role.A), server.database
        journal = HoldJournal(database, Spool(self.state(Role.A) / "spool"), lambda: 1)
        server.coordinator = Coordinator(ArchiveWriter(database, emit), journal, Tally(), emit, self._held_bytes_max)
        await server.coordinator.load(server.replica.ignored_among, server.replica.entries())
        server.start(server.coordinator.run(), "coordinator")
        server.start(attach(server.coordinator, database, server.replica, server.replica.replica_id), "attach a")

    def _emit_for(self, role):
        return lambda name, path, fields: self.events.append((role, name, path, dict(fields)))

    async def end(self, *roles):
        """End servers, whatever they are doing."""
        await self.part()
        for role in roles:
            await self.running.pop(role).end()

    async def join(self):
        """Connect both, and wait until B was compared."""
        self._link = asyncio.create_task(self._linked(), name="link")
        await self.until(lambda: self.is_joined)

    @property
    def is_joined(self):
        return self._link is not None and self.coordinator.ready == set(Role)

    async def part(self):
        """Cut the connection."""
        if self._link is None:
            return
        self._link.cancel()
        await asyncio.gather(self._link, return_exceptions=True)
        self._link = None
        if Role.A in self.running:
            await self.until(lambda: Role.B not in self.coordinator.replicas)

    async def _linked(self):
        a, b = self.running[Role.A], self.running[Role.B]
        control, far_control, _ = joined()
        bulk, far_bulk, _ = joined()
        server = ReplicaServer(b.replica)
        far_bulk.serve(server.answer_bulk)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(far_control), name="session")
            async with far_bulk, control, bulk:
                remote = RemoteReplica(Role.B, control, bulk, lambda *_: None, on_event=lambda _: None)
                try:
                    await attach(a.coordinator, a.database, remote, b.replica.replica_id)
                except Unreachable:
                    return

    # Waiting.

    async def until(self, condition):
        """Let things happen until this is so; TimeoutError where it never is."""
        async with asyncio.timeout(SECONDS_MAX):
            while not condition():
                await asyncio.sleep(0.002)

    async def settle(self):
        """Wait until everything that was done so far has come to rest, as far as the servers can talk."""
        async with asyncio.timeout(SECONDS_MAX):
            if self._link is not None:
                await self.coordinator.wait_in_sync()
                return
            if Role.A in self.running:
                await self.until(lambda: Role.A in self.coordinator.ready)
                await self.coordinator.look(Role.A, is_full=True)
                await self.until(lambda: self.coordinator.holds.is_quiet)
            if Role.B in self.running:
                await self.replica(Role.B).look(is_full=True)

    # What people do, and see.

    async def lock(self, path):
        coordinator = self.coordinator
        return await coordinator.holds.lock(path)

    async def unlock(self, path):
        async with asyncio.timeout(SECONDS_MAX):
            return await self.coordinator.holds.unlock(path)

    def rows(self, path):
        """Return the held updates of a name, in order: origin, and the state with its spooled content."""
        with self.running[Role.A].database.transaction() as connection:
            rows = [row for row in hold_rows.load_updates(connection) if row.path == path]
        return [(row.origin, self._spooled(row)) for row in rows]

    def _spooled(self, row):
        if not isinstance(row.entry, File):
            return row.entry
        content = (self.state(Role.A) / "spool" / row.file).read_bytes()
        return content, row.entry.mtime_ns, row.entry.mode

    def standing(self, role, path):
        """Return what stands at a path: content, time and bits of a file, None where there is none."""
        full = self.root(role) / os.fsdecode(path)
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            return None
        return full.read_bytes(), status.st_mtime_ns, status.st_mode & 0o777

    def become(self, role, path, standing):
        """Give a name this content, time and bits in one step, as a program does that saves by renaming."""
        full = self.root(role) / os.fsdecode(path)
        if standing is None:
            full.unlink(missing_ok=True)
            return
        content, mtime_ns, mode = standing
        fresh = self._base / "fresh"
        fresh.write_bytes(content)
        fresh.chmod(mode)
        os.utime(fresh, ns=(mtime_ns, mtime_ns))
        fresh.replace(full)

    async def kept(self, role, path):
        """Return the contents kept of a path at a server, oldest first."""
        versions = await self.replica(role).history(path)
        return [version.entry.digest for version in reversed(versions) if isinstance(version.entry, File)]

    def errors(self):
        """Return the errors that were announced."""
        return [(role, path, fields) for role, name, path, fields in self.events if name is EventName.ERROR]
