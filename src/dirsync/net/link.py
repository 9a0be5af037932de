"""Owns one transport: payloads in, payloads out, back-pressure both ways. What a payload means is not known here.

A protocol with its own buffer instead of asyncio's streams: three times their throughput over TLS.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from dirsync.errors import DirsyncError, RemoteProtocolError, Unreachable
from dirsync.net.reasons import reason_of
from dirsync.wire.framing import PACKED_MARK, FrameReader, Payload, frame_header

RECEIVED_BYTES_MAX = 2 * 1024 * 1024
"""Payloads that wait to be taken; beyond it reading pauses."""
UNSENT_BYTES_MAX = 32 * 1024 * 1024
"""What waits to be sent to an end that does not read; beyond it the link is given up."""


class Link(asyncio.BufferedProtocol):
    """Payloads over one transport. It has ended when `error` is not None; what arrived before can still be taken."""

    def __init__(self, origin: object = None) -> None:
        # `origin` is kept alive: the stream objects of a listener close their transport when they are collected.
        self._origin = origin
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._received: deque[Payload] = deque()
        self._received_bytes = 0
        self._is_paused = False
        self._arrived = asyncio.Event()
        self._can_send = asyncio.Event()
        self._can_send.set()
        self._lost = asyncio.Event()
        self._unpack: Callable[[Payload], Payload] = _refuse_packed
        self.error: DirsyncError | None = None
        self.heard_seconds = asyncio.get_running_loop().time()
        """When something last arrived, by the loop's clock."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below, once there is one."""
        assert self._transport is not None
        return self._transport

    def attach(self, transport: asyncio.Transport) -> None:
        """Use this transport, which already belongs to this protocol."""
        self._transport = transport

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        assert isinstance(transport, asyncio.Transport)
        self.attach(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Offer room for what arrives; `sizehint` is what the transport would like."""
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what arrived."""
        self.heard_seconds = asyncio.get_running_loop().time()
        if self.error is not None:
            return
        try:
            self._reader.filled(nbytes)
            frames = self._reader.frames_received()
        except RemoteProtocolError as error:
            self._end(error)
            self.transport.abort()
            return
        if frames:
            self._received.extend(frames)
            self._received_bytes += sum(map(len, frames))
            self._arrived.set()
            self._update_reading()

    def eof_received(self) -> bool:
        """Let the transport close: neither end ever half-closes."""
        self._end(Unreachable(reason_of(None)))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end(Unreachable(reason_of(exc)))
        self._lost.set()

    def pause_writing(self) -> None:
        """The far end does not keep up."""
        self._can_send.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._can_send.set()

    # What the owner calls.

    def unpack_with(self, unpack: Callable[[Payload], Payload]) -> None:
        """Take packed payloads, too, and have them unpacked by this; it raises RemoteProtocolError."""
        self._unpack = unpack

    async def receive(self) -> Payload:
        """Wait for the next payload. Raises Unreachable or RemoteProtocolError when the link has ended."""
        while not self._received:
            if self.error is not None:
                raise self.error
            self._arrived.clear()
            await self._arrived.wait()
        payload = self._received.popleft()
        self._received_bytes -= len(payload)
        self._update_reading()
        return self._unpack(payload) if payload[: len(PACKED_MARK)] == PACKED_MARK else payload

    def send(self, head: bytes, tail: Payload = b"") -> None:
        """Send a payload, given in two pieces where one of them is not worth copying, without waiting.

        Raises Unreachable when the link has ended, LocalProtocolError for what is too long.
        """
        header = frame_header(len(head) + len(tail))
        if self.error is not None:
            raise self.error
        if not self.is_open:
            # It broke while something was sent, and asyncio, which tells us in a moment, would complain of every frame.
            raise Unreachable(reason_of(None))
        if tail:
            self.transport.writelines([header + head, tail])
        else:
            self.transport.write(header + head)
        if self.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._end(Unreachable("the far end does not read what is sent to it"))
            self.transport.abort()

    @property
    def is_paused(self) -> bool:
        """Whether this end does not read at present, because what arrived was not taken."""
        return self._is_paused

    @property
    def is_open(self) -> bool:
        """Whether `send` would send; a transport that broke is closing before anybody is told."""
        return self.error is None and not self.transport.is_closing()

    @property
    def can_send(self) -> bool:
        """Whether the far end keeps up."""
        return self._can_send.is_set()

    async def wait_can_send(self) -> None:
        """Wait until the far end keeps up, or the link has ended."""
        await self._can_send.wait()

    async def close(self, within_seconds: float) -> None:
        """Send what is left and close; break off what does not close within this time. Any number of times."""
        self._end(Unreachable("the connection was closed at this end"))
        self.transport.close()
        try:
            async with asyncio.timeout(within_seconds):
                await self._lost.wait()
        except TimeoutError:
            self.transport.abort()
        finally:
            if not self._lost.is_set():
                self.transport.abort()

    def _end(self, error: DirsyncError) -> None:
        if self.error is None:
            self.error = error
        self._arrived.set()
        self._can_send.set()

    def _update_reading(self) -> None:
        should_pause = self._received_bytes > RECEIVED_BYTES_MAX
        if should_pause is self._is_paused or self.error is not None:
            return
        self._is_paused = should_pause
        if should_pause:
            self.transport.pause_reading()
        else:
            self.heard_seconds = asyncio.get_running_loop().time()
            self.transport.resume_reading()


def _refuse_packed(_: Payload) -> Payload:
    raise RemoteProtocolError("a packed frame arrived, and nobody has said that it would be understood")
