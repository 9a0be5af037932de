"""Which Server A is served: one session at a time, made of a control and a bulk connection.

The same Server A that comes again replaces its old session, unless what arrives now was sent before it; another one is
refused while a session lasts. Decides who is served, never what is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from dirsync.core.events import Event
from dirsync.errors import DirsyncError, ProtocolError, Unreachable
from dirsync.limits import SUBSCRIBER_EVENTS_MAX
from dirsync.net.connection import Connection
from dirsync.replica.interface import FullReplica
from dirsync.replica.serve import ReplicaServer
from dirsync.wire.meeting import Denied, Hello, Welcome
from dirsync.wire.replica_messages import EventsNotice

_EVENTS_MAX = 64
"""Events of one notice: a frame holds them also where each names two of the longest paths."""


def _new_events() -> "asyncio.Queue[Event]":
    return asyncio.Queue(SUBSCRIBER_EVENTS_MAX)


@dataclass(slots=True)
class _Session:
    hello: Hello
    control: Connection
    events: "asyncio.Queue[Event]" = field(default_factory=_new_events)
    reason: str = ""
    """Why the bulk connection ended, where that ended the session."""


class Sessions:
    """The one session of Server B.

    `welcome` makes the answer to a Hello that is not refused; `begin` is awaited before a session serves anything;
    `announce` is told that a session began (True) or ended, with the reason.
    """

    def __init__(
        self,
        replica: FullReplica,
        welcome: Callable[[Hello], Welcome | Denied],
        begin: Callable[[Hello], Awaitable[None]],
        announce: Callable[[bool, str], None],
    ) -> None:
        self._server = ReplicaServer(replica)
        self._welcome = welcome
        self._begin = begin
        self._announce = announce
        self._session: _Session | None = None
        # Held for as long as a session is served: two would take each other's reports.
        self._turn = asyncio.Lock()

    def meet(self, hello: Hello) -> Welcome | Denied:
        """Decide whether to let in whoever says this."""
        session = self._session
        if hello.kind == "client":
            return Denied("Server B answers Server A only; clients ask Server A")
        if hello.kind == "bulk" and (session is None or session.hello.session != hello.session):
            return Denied("this bulk connection belongs to no session")
        if session is not None and session.hello.replica_id != hello.replica_id:
            return Denied("another Server A is connected to this Server B")
        if hello.kind == "control" and session is not None and _is_overtaken(hello, session.hello):
            return Denied("Server A gave this connection up; a later one of it was here first")
        return self._welcome(hello)

    def forward(self, event: Event) -> None:
        """Have an event reach Server A, if one is connected and keeps up."""
        if self._session is not None and not self._session.events.full():
            self._session.events.put_nowait(event)

    async def take(self, hello: Hello, connection: Connection) -> None:
        """Serve a connection that was let in, as long as it lasts."""
        if hello.kind == "bulk":
            await self._take_bulk(hello, connection)
            return
        old, session = self._session, _Session(hello, connection)
        self._session = session
        if old is not None:
            await old.control.close()
        try:
            async with self._turn:
                if self._session is session:
                    await self._serve(session)
        finally:
            if self._session is session:
                self._session = None

    async def _take_bulk(self, hello: Hello, connection: Connection) -> None:
        session = self._session
        if session is None or session.hello.session != hello.session:
            return
        connection.serve(self._server.answer_bulk)
        async with connection:
            reason = await connection.wait_closed()
        if session.control.is_open:
            # One without the other is no session; why it was lost is known here only.
            session.reason = reason
            await session.control.close()

    async def _serve(self, session: _Session) -> None:
        try:
            await self._begin(session.hello)
        except DirsyncError as error:
            # Server A is told by the end of its connection, and comes again.
            self._announce(False, str(error))
            return
        self._announce(True, "Server A came")
        forwarding = asyncio.create_task(self._forward_events(session), name="events to A")
        reason = "the server ends"
        try:
            reason = await self._server.serve(session.control)
        finally:
            forwarding.cancel()
            await asyncio.wait([forwarding])
            self._announce(False, session.reason or reason)

    async def _forward_events(self, session: _Session) -> None:
        while True:
            events = [await session.events.get()]
            while not session.events.empty() and len(events) < _EVENTS_MAX:
                events.append(session.events.get_nowait())
            try:
                await session.control.notify(EventsNotice(tuple(events)))
            except (Unreachable, ProtocolError):
                return


def _is_overtaken(hello: Hello, later: Hello) -> bool:
    """Return whether a greeting comes after one that was sent later: a slow line overtakes itself."""
    return hello.epoch == later.epoch and hello.attempt < later.attempt
