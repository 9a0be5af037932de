"""Two connections joined in memory: the real class at both ends, no socket, everything through one event loop.

What is unrealistic: bytes arrive in the next turn of the loop, in pieces as large as the receiver has room for.
`Wire.is_cut` makes both directions swallow what is sent, as a pulled cable does: neither end is told. `Wire.passing` is
asked of each frame what of it gets across; with `Wire.break_off` both ends lose their connection.
"""

import asyncio

from dirsync.net.calls import SERVER_TERMS
from dirsync.net.connection import Connection
from dirsync.net.link import Link

HIGH_WATER = 256 * 1024


class Wire:
    """What both directions share."""

    def __init__(self):
        self.is_cut = False
        self.crossed = 0
        self.passing = None
        self.ends = []

    def break_off(self):
        """Both ends are told, the receiving one after what has arrived already."""
        for end in self.ends:
            end.broken_off()


class MemoryTransport(asyncio.Transport):
    """One end; what it sends waits at its peer until that reads."""

    def __init__(self, link, wire):
        super().__init__()
        self.peer = None
        self._link = link
        self._wire = wire
        self._arrived = bytearray()
        self._is_reading = True
        self._is_closing = False
        self._is_peer_gone = False
        self._is_broken = False
        self._has_paused_writer = False

    def write(self, data):
        if self._is_closing or self._is_broken or self._wire.is_cut:
            return
        if self._wire.passing is not None:
            data = self._wire.passing(self._wire, data)
        self._wire.crossed += len(data)
        self.peer._arrived += data
        self._soon(self.peer._deliver)
        if len(self.peer._arrived) > HIGH_WATER and not self._has_paused_writer:
            self._has_paused_writer = True
            self._link.pause_writing()

    def get_write_buffer_size(self):
        return len(self.peer._arrived)

    def pause_reading(self):
        self._is_reading = False

    def resume_reading(self):
        self._is_reading = True
        self._soon(self._deliver)

    def is_closing(self):
        return self._is_closing

    def close(self):
        if self._is_closing:
            return
        self._is_closing = True
        self._soon(self._link.connection_lost, None)
        if not self._wire.is_cut:
            self.peer._is_peer_gone = True
            self._soon(self.peer._deliver)

    def abort(self):
        self.close()

    def broken_off(self):
        self._is_broken = self._is_peer_gone = True
        self._soon(self._deliver)

    def _deliver(self):
        while self._arrived and self._is_reading and not self._is_closing:
            room = self._link.get_buffer(-1)
            count = min(len(room), len(self._arrived))
            room[:count] = self._arrived[:count]
            del self._arrived[:count]
            self._link.buffer_updated(count)
        if self.peer._has_paused_writer and len(self._arrived) <= HIGH_WATER:
            self.peer._has_paused_writer = False
            self.peer._link.resume_writing()
        if self._is_peer_gone and not self._arrived and not self._is_closing:
            self._link.eof_received()
            self.close()

    def _soon(self, function, *arguments):
        asyncio.get_running_loop().call_soon(function, *arguments)


def joined_links():
    """Return two links, the dialler's first, and their wire."""
    wire = Wire()
    links = Link(), Link()
    transports = [MemoryTransport(link, wire) for link in links]
    transports[0].peer, transports[1].peer = transports[1], transports[0]
    wire.ends = transports
    for link, transport in zip(links, transports, strict=True):
        link.connection_made(transport)
    return *links, wire


def joined(terms=SERVER_TERMS, listener_terms=None):
    """Return two connections that are not entered yet, the dialler's first, and their wire."""
    dialler, listener, wire = joined_links()
    return (
        Connection(dialler, is_dialler=True, terms=terms),
        Connection(listener, is_dialler=False, terms=listener_terms or terms),
        wire,
    )
