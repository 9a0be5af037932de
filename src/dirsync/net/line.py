"""Owns what is known of a line's speed: whether the sender waits for it, and how fast it is then.

Measures nothing where nobody waits: a line that is never waited for is not known to be slow.
"""

SLOW_BYTES_A_SECOND = 120 * 1024 * 1024
"""A faster line is not helped by packing: that makes some 350 MB/s of text, and takes a core for it."""
_SPAN_SECONDS = 0.1
"""How long the line is measured at a time."""
_IDLE_SECONDS = 0.05
"""After such a break it is measured anew."""


class Line:
    """One line, as its sender sees it."""

    def __init__(self) -> None:
        self.is_slow = False
        self._last = self._since = self._waited = 0.0
        self._bytes = 0

    def sent(self, size: int, now: float, waited_seconds: float) -> None:
        """So many bytes were sent at `now`, by the loop's clock, after waiting for the line for so long."""
        begun = now - waited_seconds
        if begun - self._last > _IDLE_SECONDS:
            self._restart(begun)
        self._last = now
        self._bytes += size
        self._waited += waited_seconds
        if (passed := now - self._since) >= _SPAN_SECONDS:
            self.is_slow = self._waited > passed / 2 and self._bytes / passed < SLOW_BYTES_A_SECOND
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._since, self._waited, self._bytes = now, 0.0, 0
