"""Owns the listener's half of a meeting: who is let in, how many at a time, and within which time.

Whether a Hello is welcome is decided by `meet`; what a connection is for, by whoever takes it.
"""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable

from dirsync.errors import CredentialError, RemoteProtocolError, Unreachable
from dirsync.limits import CONNECTIONS_MAX, HANDSHAKE_SECONDS, STRANGERS_MAX
from dirsync.net.calls import FOR_CLIENT_TERMS, SERVER_TERMS
from dirsync.net.connection import CLOSE_SECONDS, Connection
from dirsync.net.dial import other_version
from dirsync.net.link import Link
from dirsync.net.reasons import address_text, stranger_reason
from dirsync.net.tls import Credential
from dirsync.wire.codec import decode, encode
from dirsync.wire.meeting import PROTOCOL_MAJOR, Denied, Hello, Welcome
from dirsync.wire.messages import Reply, Request

KINDS = frozenset({"control", "bulk", "client"})

Meet = Callable[[Hello], Welcome | Denied]
Take = Callable[[Hello, Connection], Awaitable[None]]
TellRefused = Callable[[str, str], None]
"""Told of each guest who was not let in: the host it came from and why, for people."""


class Listener:
    """Accepts connections until it is closed. Made by `listen`."""

    def __init__(
        self, credential: Credential, meet: Meet, take: Take, tasks: asyncio.TaskGroup, tell_refused: TellRefused | None
    ) -> None:
        self._credential = credential
        self._context = credential.server_context()
        self._meet = meet
        self._take = take
        self._tasks = tasks
        self._tell_refused = tell_refused
        self._guests: set[asyncio.Task[None]] = set()
        # In the order of their coming: those who have not been let in yet.
        self._strangers: dict[asyncio.Task[None], asyncio.Transport] = {}
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that was chosen, where 0 was asked for."""
        return self._port

    async def start(self, host: str, port: int) -> None:
        """Begin to listen. Raises Unreachable where that is not possible there."""
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise Unreachable(f"cannot listen at {address_text(host, port)}: {reason}") from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, end every connection that was let in, and wait for them. Any number of times."""
        if self._server is not None:
            self._server.close()
        for guest in self._guests:
            guest.cancel()
        if self._guests:
            await asyncio.wait(self._guests)

    def _accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a plain connection before anything of it was read: counted from here on, proven or not."""
        if len(self._strangers) >= STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            oldest.cancel()
            # Now, not when it has ended: several may come within one turn of the loop.
            self._forget(self._strangers[oldest], oldest)
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        hosting = self._host(writer, transport)
        try:
            guest = self._tasks.create_task(hosting, name="guest")
        except RuntimeError:  # the tasks are ending, and with them the server: it takes nobody in any more
            hosting.close()
            transport.abort()
            return
        self._guests.add(guest)
        self._strangers[guest] = transport
        guest.add_done_callback(functools.partial(self._forget, transport))

    def _forget(self, transport: asyncio.Transport, guest: asyncio.Task[None]) -> None:
        # In here, because a guest who was cancelled before its first step has run nothing else.
        transport.abort()
        self._guests.discard(guest)
        self._strangers.pop(guest, None)

    async def _host(self, writer: asyncio.StreamWriter, transport: asyncio.Transport) -> None:
        link = Link(origin=writer)
        place = writer.get_extra_info("peername") or ("somewhere",)
        try:
            hello = await self._let_in(transport, link, str(place[0]))
            if hello is None:
                return
            terms = FOR_CLIENT_TERMS if hello.kind == "client" else SERVER_TERMS
            await self._take(hello, Connection(link, is_dialler=False, terms=terms))
        except (OSError, Unreachable, RemoteProtocolError):
            return  # a guest who left; whoever had to know of it was told by its connection

    async def _let_in(self, transport: asyncio.Transport, link: Link, host: str) -> Hello | None:
        """Meet a stranger; None for one who is not let in."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._prove(transport, link)
                hello, verdict = await self._greet(link)
        except (OSError, CredentialError, Unreachable, RemoteProtocolError) as error:
            self._tell(host, stranger_reason(error))
            return None
        if isinstance(verdict, Denied):
            self._tell(host, verdict.reason)
            await link.close(CLOSE_SECONDS)
            return None
        return hello

    def _tell(self, host: str, reason: str | None) -> None:
        if self._tell_refused is not None and reason is not None:
            self._tell_refused(host, reason)

    async def _prove(self, transport: asyncio.Transport, link: Link) -> None:
        secured = await asyncio.get_running_loop().start_tls(
            transport,
            link,
            self._context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=CLOSE_SECONDS,
        )
        if secured is None:
            raise Unreachable("the guest left during the handshake")
        link.attach(secured)
        if not self._credential.is_held_by(secured.get_extra_info("ssl_object")):
            raise CredentialError("the guest has another credential")

    async def _greet(self, link: Link) -> tuple[Hello, Welcome | Denied]:
        """Read the Hello and answer it. Whoever is welcome is a stranger no more."""
        request = decode(await link.receive())
        if not isinstance(request, Request) or not isinstance(request.body, Hello):
            raise RemoteProtocolError(f"expected a hello, received {type(request).__name__}")
        hello = request.body
        verdict = self._judge(hello)
        if isinstance(verdict, Welcome):
            guest = asyncio.current_task()
            assert guest is not None
            self._strangers.pop(guest, None)
        link.send(encode(Reply(request.id, verdict)))
        return hello, verdict

    def _judge(self, hello: Hello) -> Welcome | Denied:
        if hello.major != PROTOCOL_MAJOR:
            return Denied(other_version(hello.major))
        if hello.kind not in KINDS:
            return Denied("this server does not know that kind of connection")
        if len(self._guests) - len(self._strangers) >= CONNECTIONS_MAX:
            return Denied(f"this server has {CONNECTIONS_MAX} connections already, which is all it takes")
        return self._meet(hello)


async def listen(
    host: str,
    port: int,
    credential: Credential,
    meet: Meet,
    take: Take,
    tasks: asyncio.TaskGroup,
    tell_refused: TellRefused | None = None,
) -> Listener:
    """Listen at this address; port 0 lets the system choose.

    Each connection whose Hello `meet` welcomes is handed to `take`, which enters it and keeps it as long as it needs;
    it is broken off when `take` returns. All of it runs in `tasks`: what `take` raises on purpose about its
    connection (Unreachable, RemoteProtocolError) ends that connection, anything else is raised there.
    """
    listener = Listener(credential, meet, take, tasks, tell_refused)
    await listener.start(host, port)
    return listener
