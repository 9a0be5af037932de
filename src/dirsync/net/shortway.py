"""Owns Server A's end of the short way: a Unix socket in its state directory, for clients on its own machine.

Who may connect is the business of the file system (mode 0600), who is answered, of the proof. What is asked means
nothing here. Where the platform has no Unix sockets, or the path is too long for one, there is no short way, and
clients come over TLS.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from dirsync.errors import RemoteProtocolError
from dirsync.limits import CLIENT_SECONDS, HANDSHAKE_SECONDS, HEARTBEAT_SECONDS, STRANGERS_MAX
from dirsync.net.reasons import stranger_reason
from dirsync.wire.framing import HEADER_BYTES, encode_frame
from dirsync.wire.shortway import (
    ASK_BYTES_MAX,
    BEAT,
    GREETING,
    NONCE_BYTES,
    PROOF_BYTES,
    SOCKET_NAME,
    client_proof,
    is_proof,
    server_proof,
)

SOCKET_PATH_BYTES_MAX = 100
"""Of a socket's path: what every system takes (104 on macOS, 108 on Linux)."""

Answer = Callable[[bytes], AsyncGenerator[bytes, None]]
"""Yields the pieces that answer what was asked."""
TellRefused = Callable[[str, str], None]

_HERE = "this machine"


class ShortWay:
    """Listens while it is entered. `tell_refused` is told of each guest who was not let in, as by the listener.

    Guests are looked after in `tasks`: what an answer raises beyond what it tells is raised there.
    """

    def __init__(
        self, directory: Path, key: bytes, answer: Answer, tasks: asyncio.TaskGroup, tell_refused: TellRefused
    ) -> None:
        self._path = directory / SOCKET_NAME
        self._key = key
        self._answer = answer
        self._tasks = tasks
        self._tell_refused = tell_refused
        self._server: asyncio.Server | None = None
        self._guests: set[asyncio.Task[None]] = set()
        # In the order of their coming: those who have proven nothing yet.
        self._strangers: dict[asyncio.Task[None], None] = {}

    async def __aenter__(self) -> "ShortWay":
        bound = self._bind() if is_possible(self._path) else None
        if bound is not None:
            self._server = await asyncio.start_unix_server(
                self._accept, sock=bound, limit=ASK_BYTES_MAX, backlog=STRANGERS_MAX
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
        for guest in self._guests:
            guest.cancel()
        if self._guests:
            await asyncio.wait(self._guests)

    def _bind(self) -> socket.socket | None:
        """Return the socket, bound, in the place of a dead server's if need be: there is no other, as the lock says.

        None where the file system holds no sockets, or no more files: clients come over TLS then.
        """
        fresh = self._path.with_suffix(".new")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            fresh.unlink(missing_ok=True)
            listening.bind(os.fspath(fresh))
            fresh.chmod(0o600)
            fresh.replace(self._path)
        except OSError:
            listening.close()
            return None
        return listening

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._strangers) >= STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            oldest.cancel()
            del self._strangers[oldest]
        guest = self._tasks.create_task(self._host(reader, writer), name="guest on the short way")
        self._guests.add(guest)
        self._strangers[guest] = None
        guest.add_done_callback(lambda _: self._forget(guest, writer))

    def _forget(self, guest: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self._guests.discard(guest)
        self._strangers.pop(guest, None)
        writer.transport.abort()

    async def _host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                asked = await self._meet(reader, writer)
        except (OSError, EOFError, RemoteProtocolError) as error:
            if (reason := stranger_reason(error)) is not None:
                self._tell_refused(_HERE, reason)
            return
        if asked is None:
            self._tell_refused(_HERE, "it has another credential, or none; both ends need the same key file")
            return
        with contextlib.suppress(OSError):  # a guest who left
            beating = asyncio.create_task(_beat(writer), name="beat on the short way")
            try:
                await self._tell(asked, writer)
            finally:
                beating.cancel()
            writer.close()
            async with asyncio.timeout(CLIENT_SECONDS):
                await writer.wait_closed()

    async def _tell(self, asked: bytes, writer: asyncio.StreamWriter) -> None:
        async with aclosing(self._answer(asked)) as pieces:
            async for piece in pieces:
                writer.write(encode_frame(piece))
                async with asyncio.timeout(CLIENT_SECONDS):
                    await writer.drain()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Return what a guest asks who has proven the credential; None where it has not."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        writer.write(GREETING + nonce)
        client_nonce = await reader.readexactly(NONCE_BYTES)
        given = await reader.readexactly(PROOF_BYTES)
        if not is_proof(self._key, given, client_proof(self._key, nonce, client_nonce)):
            return None
        guest = asyncio.current_task()
        assert guest is not None
        self._strangers.pop(guest, None)
        writer.write(server_proof(self._key, nonce, client_nonce))
        length = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
        if length > ASK_BYTES_MAX:
            raise RemoteProtocolError(f"a question claims {length} bytes; at most {ASK_BYTES_MAX} are allowed")
        return await reader.readexactly(length)


async def _beat(writer: asyncio.StreamWriter) -> None:
    """Show that the server is alive while an answer is worked at."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        if writer.transport.is_closing():
            return
        if not writer.transport.get_write_buffer_size():
            writer.write(encode_frame(BEAT))


def is_possible(path: Path) -> bool:
    """Return whether a socket can stand at this path on this platform."""
    return os.name == "posix" and len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
