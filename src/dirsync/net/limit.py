"""Owns how much one server sends a second, over all its connections to the other: what is to go first waits for itself.

Counts and says how long to wait; whoever sends does the waiting.
"""

import asyncio

_CREDIT_SECONDS = 0.05
"""What was not sent before may be sent later, up to the bytes of this time."""


class Limiter:
    """At most `bytes_a_second` in the long run. A message goes out whole, and is waited for afterwards.

    What goes first waits only for what went first before it; all else waits for everything, so it makes room.
    """

    def __init__(self, bytes_a_second: int) -> None:
        self._bytes_a_second = bytes_a_second
        self._all_paid = self._first_paid = 0.0

    def count(self, size: int, *, is_first: bool) -> None:
        """So many bytes were sent."""
        self._all_paid = self._later(self._all_paid, size)
        if is_first:
            self._first_paid = self._later(self._first_paid, size)

    def delay_seconds(self, *, is_first: bool) -> float:
        """Return how long the next message has to wait; not above 0: not at all."""
        return (self._first_paid if is_first else self._all_paid) - asyncio.get_running_loop().time()

    def _later(self, paid: float, size: int) -> float:
        return max(paid, asyncio.get_running_loop().time() - _CREDIT_SECONDS) + size / self._bytes_a_second
