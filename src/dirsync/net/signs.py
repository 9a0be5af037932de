"""Owns the signs of life of a connection: what is sent to be heard of, and when silence counts as loss."""

import asyncio

from dirsync.errors import Unreachable
from dirsync.net.link import Link
from dirsync.wire.codec import encode
from dirsync.wire.meeting import Heartbeat
from dirsync.wire.messages import Notice


async def beat(link: Link, interval_seconds: float) -> None:
    """Send a heartbeat every so often, for as long as the link lasts.

    At whole multiples of that by the machine's clock: a server that rests is woken once for all of its connections.
    """
    now = asyncio.get_running_loop().time
    beats = 0
    while True:
        beats = max(beats, int(now() / interval_seconds)) + 1
        await asyncio.sleep(beats * interval_seconds - now())
        if not link.is_open:
            return
        # Where much is unsent, something else arrives at the far end.
        if link.can_send:
            link.send(encode(Notice(Heartbeat())))


async def wait_silent(link: Link, limit_seconds: float) -> Unreachable:
    """Wait until nothing was heard for so long, though this end listened; return what the connection ends with."""
    now = asyncio.get_running_loop().time
    while True:
        left_seconds = limit_seconds if link.is_paused else link.heard_seconds + limit_seconds - now()
        if left_seconds <= 0:
            return Unreachable(f"nothing was heard for {limit_seconds:g} s")
        await asyncio.sleep(left_seconds)
