"""Owns flow control within a connection: nobody sends more of a stream than its receiver has room for.

A sender may have WINDOW_PARTS parts under way; each GRANTED_PARTS that were consumed grant as many more. Notices are
counted alike. So one slow receiver holds up only its own stream, and what waits in memory is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from dirsync.errors import DirsyncError, RemoteProtocolError
from dirsync.limits import CHUNK_BYTES
from dirsync.wire.messages import Message

WINDOW_PARTS = 32
"""Of one stream, and of notices: 8 MiB of chunks, enough to fill a 1 Gbit/s line at a round trip of 60 ms."""
GRANTED_PARTS = 4
"""By one grant: what says so costs both ends as much as a small message, and a part more or less holds up nobody."""
PART_BYTES_MAX = 2 * CHUNK_BYTES
"""Of one part as it travels: what a window can make its receiver hold."""


OnGrant = Callable[[int], None] | None


class Window:
    """The sending end: how many more parts the receiver has room for. `room` None: no limit but the transport's."""

    def __init__(self, room: int | None = WINDOW_PARTS) -> None:
        self._room = room
        self._is_ended = False
        self._error: DirsyncError | None = None
        self._changed = asyncio.Event()
        self.on_grant: OnGrant = None
        """Called with the number of parts that were consumed."""

    async def take(self) -> bool:
        """Wait for room and use it up; False where nothing more is wanted. Raises the error the stream ended with."""
        while self._room == 0 and not self._is_ended:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        if self._is_ended:
            return False
        if self._room is not None:
            self._room -= 1
        return True

    def grant(self, count: int) -> None:
        """The receiver consumed so many."""
        if self.on_grant is not None:
            self.on_grant(count)
        if self._room is not None:
            self._room = min(self._room + count, WINDOW_PARTS)
        self._changed.set()

    def end(self, error: DirsyncError | None = None) -> None:
        """Nothing more can be sent."""
        self._is_ended = True
        self._error = error
        self._changed.set()


class Inflow:
    """The receiving end: parts that arrived and were not consumed yet."""

    def __init__(self) -> None:
        self._parts: deque[Message] = deque()
        self._consumed = 0
        self._is_ended = False
        self._error: DirsyncError | None = None
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def put(self, part: Message, is_windowed: bool) -> None:
        """Take a part that arrived. Raises RemoteProtocolError for one that there is no room for."""
        if self._is_ended:
            return
        if is_windowed and len(self._parts) >= WINDOW_PARTS:
            raise RemoteProtocolError("more of a stream was sent than there is room for")
        self._parts.append(part)
        self._arrived.set()
        if len(self._parts) >= WINDOW_PARTS:
            self._has_room.clear()

    async def wait_room(self) -> None:
        """Wait until another part can be taken; for a sender that keeps no window."""
        await self._has_room.wait()

    async def next(self) -> Message | None:
        """Wait for the next part; None at the end. Raises the error the stream ended with, after its parts."""
        while not self._parts and not self._is_ended:
            self._arrived.clear()
            await self._arrived.wait()
        if self._parts:
            part = self._parts.popleft()
            self._has_room.set()
            return part
        if self._error is not None:
            raise self._error
        return None

    def is_grant_due(self) -> bool:
        """Count one part as consumed, and return whether the sender is to be told."""
        self._consumed += 1
        return self._consumed % GRANTED_PARTS == 0

    def end(self, error: DirsyncError | None = None) -> None:
        """No more parts will arrive."""
        if not self._is_ended:
            self._is_ended = True
            self._error = error
        self._arrived.set()
        self._has_room.set()
