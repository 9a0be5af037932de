"""Owns the listener's half of a meeting: who is let in, how many at a time, and within which time.

Whether a Hello is welcome is decided by `meet`; what a connection is for, by whoever takes it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

from dirsync.errors import RemoteProtocolError, Unreachable
from dirsync.limits import CONNECTIONS_MAX, HANDSHAKE_SECONDS
from dirsync.net.calls import FOR_CLIENT_TERMS, SERVER_TERMS
from dirsync.net.connection import CLOSE_SECONDS, Connection
from dirsync.net.dial import other_version
from dirsync.net.link import Link
from dirsync.net.reasons import address_text
from dirsync.net.tls import Credential
from dirsync.wire.codec import decode, encode
from dirsync.wire.messages import PROTOCOL_MAJOR, Denied, Hello, Reply, Request, Welcome

KINDS = frozenset({"control", "bulk", "client"})

Meet = Callable[[Hello], Welcome | Denied]
Take = Callable[[Hello, Connection], Awaitable[None]]


class Listener:
    """Accepts connections until it is closed. Made by `listen`."""

    def __init__(self, credential: Credential, meet: Meet, take: Take, tasks: asyncio.TaskGroup) -> None:
        self._credential = credential
        self._context = credential.server_context()
        self._meet = meet
        self._take = take
        self._tasks = tasks
        self._guests: set[asyncio.Task[None]] = set()
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
        if len(self._guests) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        guest = self._tasks.create_task(self._host(writer, transport), name="guest")
        self._guests.add(guest)
        guest.add_done_callback(self._guests.discard)

    async def _host(self, writer: asyncio.StreamWriter, transport: asyncio.Transport) -> None:
        link = Link(origin=writer)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._prove(transport, link)
                hello = await self._greet(link)
            if hello is None:
                await link.close(CLOSE_SECONDS)
                return
            terms = FOR_CLIENT_TERMS if hello.kind == "client" else SERVER_TERMS
            await self._take(hello, Connection(link, is_dialler=False, terms=terms))
        except (OSError, Unreachable, RemoteProtocolError):
            # Strangers, and guests who left. Whoever had to know of a lost guest was told by its connection.
            return
        finally:
            transport.abort()

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
            raise Unreachable("the guest has another credential")

    async def _greet(self, link: Link) -> Hello | None:
        """Read the Hello and answer it; None where it was denied."""
        request = decode(await link.receive())
        if not isinstance(request, Request) or not isinstance(request.body, Hello):
            raise RemoteProtocolError(f"expected a hello, received {type(request).__name__}")
        hello = request.body
        verdict = self._judge(hello)
        link.send(encode(Reply(request.id, verdict)))
        return hello if isinstance(verdict, Welcome) else None

    def _judge(self, hello: Hello) -> Welcome | Denied:
        if hello.major != PROTOCOL_MAJOR:
            return Denied(other_version(hello.major))
        if hello.kind not in KINDS:
            return Denied("this server does not know that kind of connection")
        return self._meet(hello)


async def listen(
    host: str, port: int, credential: Credential, meet: Meet, take: Take, tasks: asyncio.TaskGroup
) -> Listener:
    """Listen at this address; port 0 lets the system choose.

    Each connection whose Hello `meet` welcomes is handed to `take`, which enters it and keeps it as long as it needs;
    it is broken off when `take` returns. All of it runs in `tasks`: what `take` raises on purpose about its
    connection (Unreachable, RemoteProtocolError) ends that connection, anything else is raised there.
    """
    listener = Listener(credential, meet, take, tasks)
    await listener.start(host, port)
    return listener
