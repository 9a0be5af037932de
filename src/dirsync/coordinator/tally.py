"""Counts the bytes of content that really crossed the wire, per path or digest, until somebody asks."""

from collections import OrderedDict

_KEYS_MAX = 10_000


class Tally:
    """Filled at the connection, read when a change is announced. Bounded: the oldest unread count goes first."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[bytes, int] = OrderedDict()

    def add(self, key: bytes, count: int) -> None:
        """Add `count` bytes that crossed for a path or a digest."""
        self._bytes[key] = self._bytes.get(key, 0) + count
        while len(self._bytes) > _KEYS_MAX:
            self._bytes.popitem(last=False)

    def take(self, key: bytes) -> int:
        """Return what crossed for this key since it was last asked for."""
        return self._bytes.pop(key, 0)
