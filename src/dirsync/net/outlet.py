"""Owns the sending end of one connection: whose turn it is, how long it waits, and what is packed for the line."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from dirsync.errors import DirsyncError
from dirsync.net.limit import Limiter
from dirsync.net.line import Line
from dirsync.net.link import Link
from dirsync.wire.framing import Payload

Pack = Callable[[bytes, Payload], tuple[bytes, Payload]]
"""Packs a payload that is given in two pieces, where that is worth it."""


class Outlet:
    """Sends payloads over a link, one after the other."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._writing = asyncio.Lock()
        self._limiter: Limiter | None = None
        self._is_first = False
        self._line = Line()
        self._pack: Pack | None = None
        self._is_always_packed = False
        self._error: DirsyncError | None = None
        self._ended = asyncio.Event()

    def limit(self, limiter: Limiter, *, is_first: bool) -> None:
        """Keep to this limit, with everything that shares it; `is_first`: before what does not go first."""
        self._limiter, self._is_first = limiter, is_first

    def pack_with(self, pack: Pack, *, always: bool) -> None:
        """Pack what shrinks by it while the line is slow, or `always`."""
        self._pack, self._is_always_packed = pack, always

    def end(self, error: DirsyncError) -> None:
        """Nothing can be sent any more, for this reason; who waits is told."""
        self._error = error
        self._ended.set()

    async def send(self, head: bytes, tail: Payload = b"") -> None:
        """Send when it may be sent, and the far end keeps up. Raises the error that the connection ended with."""
        # The lock is held while waiting on purpose: whoever waits next must not add to what is unsent already.
        async with self._writing:
            began = self._now()
            await self._wait_allowed()
            await self._link.wait_can_send()
            if self._error is not None:
                raise self._error
            waited = (now := self._now()) - began
            if self._pack is not None and (self._is_always_packed or self._line.is_slow):
                head, tail = self._pack(head, tail)
            self._line.sent(len(head) + len(tail), now, waited)
            self.post(head, tail)

    def post(self, head: bytes, tail: Payload = b"") -> None:
        """Send now: something small, or something that has waited. Raises as the link's `send`."""
        self._link.send(head, tail)
        if self._limiter is not None:
            self._limiter.count(len(head) + len(tail), is_first=self._is_first)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait_allowed(self) -> None:
        while self._limiter is not None and not self._ended.is_set():
            delay = self._limiter.delay_seconds(is_first=self._is_first)
            if delay <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._ended.wait()
