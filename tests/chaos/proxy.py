"""A line between two servers that can be cut, stalled and garbled.

Knows nothing of what it carries. Stalled, it swallows nothing: bytes wait, as in a network that drops packets.
"""

import contextlib
import select
import socket
import struct
import threading

_PIECE = 16_384
_TURN_SECONDS = 0.05


class Proxy:
    """Listens at `port` on loopback and joins whoever comes with whoever listens at `target`."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._garbles = threading.Event()
        self._ends = threading.Event()
        self._joined = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self):
        """Let nothing through any more, and tell nobody."""
        self._flows.clear()

    def flow(self):
        """Let everything through again."""
        self._flows.set()

    def reset(self):
        """End every connection by a reset at both ends."""
        with self._lock:
            joined, self._joined = self._joined, []
        for one, other in joined:
            for end in (one, other):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)
                end.close()

    def garble(self):
        """Change one byte of what comes next."""
        self._garbles.set()

    def close(self):
        """End everything."""
        self._ends.set()
        self._listener.close()
        self.reset()

    def _accept(self):
        while not self._ends.is_set():
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            try:
                other = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                one.close()
                continue
            with self._lock:
                self._joined.append((one, other))
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source, sink):
        try:
            while data := self._next(source):
                if self._garbles.is_set():
                    self._garbles.clear()
                    data = data[:-1] + bytes([data[-1] ^ 1])
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            for end in (source, sink):
                end.close()

    def _next(self, source):
        """Return the next bytes, none at the end; not while stalled."""
        while not self._ends.is_set():
            if self._flows.wait(_TURN_SECONDS) and select.select([source], [], [], _TURN_SECONDS)[0]:
                return source.recv(_PIECE)
        return b""
