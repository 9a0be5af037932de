"""Server B: builds its replica and serves it to Server A, one session at a time."""

import asyncio
import time

from dirsync.core.entry import Role
from dirsync.core.events import Emit, Event, EventName
from dirsync.errors import StateError
from dirsync.net.connection import Connection
from dirsync.net.listen import listen
from dirsync.net.tls import Credential
from dirsync.peer.sessions import Sessions
from dirsync.replica.local import LocalReplica
from dirsync.run import identity
from dirsync.run.emitting import Sink, make_emit
from dirsync.run.parts import Sending, announce_ready, open_replica
from dirsync.run.settings import Settings
from dirsync.run.strangers import Strangers
from dirsync.store.database import Database
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Denied, Hello, Welcome


async def run_b(settings: Settings, credential: Credential, database: Database, sink: Sink) -> None:
    """Run Server B until cancelled. Raises a DirsyncError where it cannot start or go on."""
    forwarded: list[Sessions] = []

    def forward(event: Event) -> None:
        for sessions in forwarded:
            sessions.forward(event)

    emit = make_emit(Role.B, sink, forward)
    async with open_replica(settings, Role.B, database, emit) as replica, asyncio.TaskGroup() as tasks:
        server = _ServerB(database, replica, emit, settings.capabilities)
        sessions = Sessions(replica, server.welcome, server.begin, server.announce)
        forwarded.append(sessions)
        sending = Sending(settings)

        async def take(hello: Hello, connection: Connection) -> None:
            sending.begin(connection, hello.kind, hello.capabilities)
            await sessions.take(hello, connection)

        address = settings.b.listen
        refused = Strangers(emit, time.monotonic).refused
        listener = await listen(address.host, address.port, credential, sessions.meet, take, tasks, refused)
        try:
            await announce_ready(settings, Role.B, listener.port, replica, emit)
            await asyncio.Event().wait()
        finally:
            await listener.close()


class _ServerB:
    """What Server B says of itself when it is met."""

    def __init__(self, database: Database, replica: LocalReplica, emit: Emit, capabilities: tuple[str, ...]) -> None:
        self._database = database
        self._capabilities = capabilities
        self._replica = replica
        self._emit = emit
        self._epoch = identity.new_epoch(database)
        self._seen_epoch = identity.seen_epoch(database)

    def welcome(self, hello: Hello) -> Welcome | Denied:
        root = self._replica.root_identity
        place = (root.device, root.inode)
        machine = identity.machine_id()
        if machine and machine == hello.machine and place == hello.root:
            return Denied("directory_a and directory_b are the same directory; a pair needs two")
        return Welcome(
            PROTOCOL_MAJOR,
            PROTOCOL_MINOR,
            Role.B,
            replica_id=self._replica.replica_id,
            pair_id=hello.pair_id,
            epoch=self._epoch,
            time_ns=time.time_ns(),
            capabilities=self._capabilities,
            machine=machine,
            root=place,
            seen_epoch=self._seen_epoch,
        )

    async def begin(self, hello: Hello) -> None:
        """Take over what Server A decides: the pair we belong to, and what is ignored."""
        try:
            await asyncio.to_thread(self._learn, hello)
        except StateError as error:
            # That there is no room for it keeps nothing waiting: it is known meanwhile, and learnt when A comes next.
            self._emit(EventName.ERROR, None, {"reason": str(error)})
        self._seen_epoch = hello.epoch
        await self._replica.set_ignore(hello.ignore)

    def _learn(self, hello: Hello) -> None:
        if identity.pair_id(self._database) != hello.pair_id:
            identity.learn_pair_id(self._database, hello.pair_id)
        identity.learn_epoch(self._database, hello.epoch)

    def announce(self, is_connected: bool, reason: str) -> None:
        name = EventName.CONNECTED if is_connected else EventName.DISCONNECTED
        self._emit(name, None, {"peer": Role.A.value, "reason": reason})
