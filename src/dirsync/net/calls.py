"""Owns what is remembered of a request while it is under way, at the end that asks and at the end that answers.

Also the terms that both ends of a connection keep to. Sends nothing itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dirsync.errors import DirsyncError
from dirsync.limits import HEARTBEAT_SECONDS, SILENCE_SECONDS
from dirsync.net.flow import Inflow, Window
from dirsync.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Terms:
    """What both ends keep to. `is_windowed`: streams are granted part by part; `silence_seconds` None: may be silent.

    A client is simpler than a server: it only asks, one thing at a time, so the transport's own back-pressure does.
    """

    is_windowed: bool = True
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    silence_seconds: float | None = SILENCE_SECONDS


SERVER_TERMS = Terms()
CLIENT_TERMS = Terms(is_windowed=False)
"""At the client's end."""
FOR_CLIENT_TERMS = Terms(is_windowed=False, silence_seconds=None)
"""At the server's end."""


class Incoming:
    """A request of the far end while it is being answered: the two streams that belong to it."""

    def __init__(self, send: Callable[[Message], Awaitable[None]], grant: Callable[[], None], window: Window) -> None:
        self._send = send
        self._grant = grant
        self.window = window
        self.inflow = Inflow()

    async def send(self, part: Message) -> None:
        """Send a part of the answer when the requester has room for it."""
        if await self.window.take():
            await self._send(part)

    async def receive(self) -> Message:
        """Wait for the next part that the requester sends."""
        part = await self.inflow.next()
        assert part is not None, "only a connection that ends, with an error, ends what a requester sends"
        if self.inflow.is_grant_due():
            self._grant()
        return part


class Call:
    """A request of this end until it is answered."""

    def __init__(self, number: int, window: Window) -> None:
        self.number = number
        self.window = window
        self.inflow = Inflow()
        self.on_start: Callable[[], None] | None = None
        self._reply: Message | None = None
        self._error: DirsyncError | None = None
        self._answered = asyncio.Event()

    @property
    def is_answered(self) -> bool:
        """Whether the far end is done with it."""
        return self._answered.is_set()

    def started(self) -> None:
        """The far end has begun to answer."""
        if self.on_start is not None:
            self.on_start()
            self.on_start = None

    def answer(self, reply: Message) -> None:
        """The far end has answered."""
        self._reply = reply
        self._finish(None)

    def fail(self, error: DirsyncError) -> None:
        """It will not be answered, for this reason."""
        self._error = error
        self._finish(error)

    def _finish(self, error: DirsyncError | None) -> None:
        self.inflow.end(error)
        self.window.end()
        self._answered.set()

    async def wait(self) -> Message:
        """Wait for the answer. Raises what it failed with."""
        await self._answered.wait()
        if self._error is not None:
            raise self._error
        assert self._reply is not None
        return self._reply
