"""Server A: builds the coordinator with its own replica, listens for clients, and keeps reaching for Server B."""

import asyncio
import functools
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.journal import Journal
from dirsync.coordinator.loop import Coordinator
from dirsync.coordinator.requests import ClientRequests, Streamed
from dirsync.coordinator.tally import Tally
from dirsync.core.entry import Role
from dirsync.core.events import Emit, EventName
from dirsync.disk.spool import Spool
from dirsync.errors import DirsyncError, RootLost, Unreachable
from dirsync.limits import (
    CLOCK_DIFFERENCE_SECONDS,
    CONNECT_RETRY_FIRST_SECONDS,
    CONNECT_RETRY_MAX_SECONDS,
    RETRY_FIRST_SECONDS,
    RETRY_MAX_SECONDS,
)
from dirsync.net.calls import Incoming
from dirsync.net.connection import Connection
from dirsync.net.dial import dial
from dirsync.net.listen import listen
from dirsync.net.shortway import ShortWay
from dirsync.net.tls import Credential
from dirsync.replica.interface import FullReplica
from dirsync.replica.local import LocalReplica
from dirsync.replica.remote import RemoteReplica
from dirsync.run import identity
from dirsync.run.emitting import Sink, make_emit
from dirsync.run.parts import Sending, announce_ready, open_replica
from dirsync.run.printed import printed
from dirsync.run.settings import Settings
from dirsync.run.strangers import Strangers
from dirsync.store.database import Database
from dirsync.wire.client_messages import EventsPart, ListPart
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Chunk, Denied, Hello, Welcome
from dirsync.wire.messages import Message

_OLDER = (
    "the state of Server A is older than the one that Server B has met (restored from a copy?): both directories are"
    " compared as if for the first time, and nothing counts as deleted"
)
_PATIENCE_SECONDS = 1.0
"""How long Server B may be unreachable before that is announced."""


async def run_a(settings: Settings, credential: Credential, database: Database, sink: Sink) -> None:
    """Run Server A until cancelled. Raises a DirsyncError where it cannot start or go on."""
    journal, tally = Journal(), Tally()
    emit = make_emit(Role.A, sink, journal.publish)
    pair_id = identity.make_pair_id(database)
    spool = Spool(settings.state_of(Role.A) / "spool")
    coordinator = Coordinator(
        ArchiveWriter(database, emit), HoldJournal(database, spool, time.time_ns), tally, emit, settings.locks_max_bytes
    )
    async with open_replica(settings, Role.A, database, emit) as replica, asyncio.TaskGroup() as tasks:
        await coordinator.load(replica.ignored_among, replica.entries())
        link = _LinkToB(settings, credential, database, replica, coordinator, journal, tally, emit)
        requests = ClientRequests(coordinator, journal, pair_id, functools.partial(_place, settings))
        meet = functools.partial(_meet_client, pair_id)
        take = functools.partial(_serve_client, requests)
        address = settings.a.listen
        refused = Strangers(emit, time.monotonic).refused
        listener = await listen(address.host, address.port, credential, meet, take, tasks, refused)
        try:
            tasks.create_task(coordinator.run(), name="coordinator")
            tasks.create_task(_keep_attached(coordinator, database, replica, emit), name="replica a")
            answer = functools.partial(printed, requests)
            async with ShortWay(settings.state_of(Role.A), credential.proof_key, answer, tasks, refused):
                tasks.create_task(announce_ready(settings, Role.A, listener.port, replica, emit), name="ready")
                await link.keep()
        finally:
            await listener.close()


def _place(settings: Settings, role: Role) -> tuple[str, str]:
    """Return where a server is reached, as far as it is known, and its directory."""
    try:
        address = settings.reach(role)
    except Unreachable:
        address = settings.server(role).listen
    return str(address), str(settings.server(role).directory)


def _meet_client(pair_id: bytes, hello: Hello) -> Welcome | Denied:
    if hello.kind != "client":
        return Denied("Server A answers clients only; it dials Server B itself")
    return Welcome(PROTOCOL_MAJOR, PROTOCOL_MINOR, Role.A, pair_id=pair_id, time_ns=time.time_ns())


async def _serve_client(requests: ClientRequests, _: Hello, connection: Connection) -> None:
    async def answer(request: Message, incoming: Incoming) -> Message:
        if not isinstance(request, Streamed):
            return await requests.answer(request)
        async with aclosing(requests.stream(request)) as parts:
            async for part in parts:
                if not isinstance(part, EventsPart | ListPart | Chunk):
                    return part
                await incoming.send(part)
        raise AssertionError("a stream ends with its reply")

    connection.serve(answer)
    async with connection:
        await connection.wait_closed()


class _LinkToB:
    """Dials Server B, lends its replica to the coordinator while the connection lasts, and dials again."""

    def __init__(
        self,
        settings: Settings,
        credential: Credential,
        database: Database,
        replica: LocalReplica,
        coordinator: Coordinator,
        journal: Journal,
        tally: Tally,
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._database = database
        self._replica = replica
        self._coordinator = coordinator
        self._journal = journal
        self._tally = tally
        self._emit = emit
        self._sending = Sending(settings)
        self._epoch = identity.new_epoch(database)
        self._attempt = 0
        self._said = ""
        self._apart_since = asyncio.get_running_loop().time()

    async def keep(self) -> None:
        """Reach for B, again and again, until cancelled."""
        delay = CONNECT_RETRY_FIRST_SECONDS
        while True:
            started = asyncio.get_running_loop().time()
            is_refused = False
            try:
                await self._session()
            except Unreachable as error:
                # At a start or restart the other server is there in a moment; that is nothing to be told.
                if asyncio.get_running_loop().time() - self._apart_since > _PATIENCE_SECONDS:
                    self._say(str(error))
            except DirsyncError as error:
                self._say(str(error))
                is_refused = True
            now = asyncio.get_running_loop().time()
            # Both servers often start together: B is there any moment, and asking costs nothing. Whoever is there and
            # refuses will go on to.
            is_awaited = now - self._apart_since < _PATIENCE_SECONDS and not is_refused
            if now - started > CONNECT_RETRY_MAX_SECONDS or is_awaited:
                delay = CONNECT_RETRY_FIRST_SECONDS
            await asyncio.sleep(delay)
            delay = min(delay * 2, CONNECT_RETRY_MAX_SECONDS)

    def _say(self, reason: str) -> None:
        """Announce why B cannot be reached, once per reason."""
        if reason != self._said:
            self._said = reason
            self._emit(EventName.NOTICE, None, {"reason": f"Server B cannot be reached: {reason}"})

    def _hello(self, kind: str, session: bytes) -> Hello:
        """Blocking: the database may be at work."""
        root = self._replica.root_identity
        return Hello(
            PROTOCOL_MAJOR,
            PROTOCOL_MINOR,
            kind,
            replica_id=self._replica.replica_id,
            pair_id=identity.pair_id(self._database),
            peer_id=identity.partner(self._database, Role.B),
            epoch=self._epoch,
            session=session,
            time_ns=time.time_ns(),
            capabilities=self._settings.capabilities,
            ignore=self._settings.ignore,
            machine=identity.machine_id(),
            root=(root.device, root.inode),
            attempt=self._attempt,
        )

    @asynccontextmanager
    async def _dialled(self, kind: str, session: bytes) -> AsyncIterator[tuple[Connection, Welcome]]:
        address = self._settings.reach(Role.B)
        hello = await asyncio.to_thread(self._hello, kind, session)
        connection, welcome = await dial(address.host, address.port, self._credential, hello)
        self._sending.begin(connection, kind, welcome.capabilities)
        async with connection:
            yield connection, welcome

    async def _session(self) -> None:
        session = secrets.token_bytes(16)
        self._attempt += 1
        sent_ns = time.time_ns()
        async with self._dialled("control", session) as (control, welcome):
            self._compare_clocks(welcome, sent_ns)
            async with self._dialled("bulk", session) as (bulk, _):
                await self._lend(control, bulk, welcome)

    async def _lend(self, control: Connection, bulk: Connection, welcome: Welcome) -> None:
        remote = RemoteReplica(Role.B, control, bulk, self._tally.add, on_event=self._journal.publish)
        self._said = ""
        self._emit(EventName.CONNECTED, None, {"peer": Role.B.value, "reason": "Server B answered"})
        reason = "the server ends"
        try:
            is_older = not await asyncio.to_thread(identity.has_epoch, self._database, welcome.seen_epoch)
            if is_older:
                self._emit(EventName.NOTICE, None, {"reason": _OLDER})
            await _unless_ended(attach(self._coordinator, self._database, remote, welcome.replica_id, is_older), bulk)
        except DirsyncError as error:
            reason = str(error)
            raise
        finally:
            self._apart_since = asyncio.get_running_loop().time()
            self._emit(EventName.DISCONNECTED, None, {"peer": Role.B.value, "reason": reason})

    def _compare_clocks(self, welcome: Welcome, sent_ns: int) -> None:
        """Announce clocks that differ: "newest" means less then. Half the way there and back is B's moment."""
        difference = (welcome.time_ns - (sent_ns + time.time_ns()) // 2) / 1e9
        if abs(difference) > CLOCK_DIFFERENCE_SECONDS:
            what = "ahead of" if difference > 0 else "behind"
            reason = f"the clock of Server B is {abs(difference):.1f} s {what} this one; newest-wins relies on both"
            self._emit(EventName.NOTICE, None, {"reason": reason})


async def _unless_ended(work: Coroutine[None, None, None], bulk: Connection) -> None:
    """Do this until the bulk connection ends: one without the other is no session. Raises what ended it."""
    working = asyncio.create_task(work, name="replica b")
    ended = asyncio.create_task(bulk.wait_closed(), name="bulk connection")
    try:
        await asyncio.wait([working, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, ended):
            task.cancel()
        await asyncio.wait([working, ended])
    if working.cancelled():
        raise Unreachable(ended.result())
    working.result()


async def attach(
    coordinator: Coordinator, database: Database, replica: FullReplica, replica_id: bytes, is_older: bool = False
) -> None:
    """Attach a replica; if the archive was made with another one, or is older, nothing it lacks counts as deleted."""
    if is_older or await asyncio.to_thread(identity.partner, database, replica.role) != replica_id:
        await coordinator.first_run(replica.role)
        await asyncio.to_thread(identity.learn_partner, database, replica.role, replica_id)
    await coordinator.attach(replica.role, replica)


async def _keep_attached(coordinator: Coordinator, database: Database, replica: LocalReplica, emit: Emit) -> None:
    """Keep A's own replica attached; one that came back as another directory is attached anew."""
    delay = RETRY_FIRST_SECONDS
    while True:
        try:
            await attach(coordinator, database, replica, replica.replica_id)
        except RootLost:
            delay = RETRY_FIRST_SECONDS
        except DirsyncError as error:
            emit(EventName.ERROR, None, {"reason": str(error)})
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MAX_SECONDS)
