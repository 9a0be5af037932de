"""Which changes a power cut cannot undo any more, although nobody synced them: those the kernel has written out by now.

A file tells by the wall clock when it was changed, and that clock may be set at any time; how long ago that was, only
the monotonic clock can tell.
"""

import asyncio
import time
from collections import deque

from dirsync.limits import WRITTEN_OUT_SECONDS

_NS = 1_000_000_000


class WrittenOut:
    """The bound: what is stamped earlier is on the disk. It only ever errs towards the past.

    It is the lowest that the wall clock has shown within the time that the kernel takes, less that time. `earlier_ns`
    is the last bound of the process before, 0 where there was none: what was changed meanwhile nobody has seen.
    """

    def __init__(self, earlier_ns: int) -> None:
        self._shown = deque([(float("-inf"), earlier_ns)])

    def bound_ns(self) -> int:
        """Look at the clocks, and return the bound. To be called about once a second."""
        now = asyncio.get_running_loop().time()
        self._shown.append((now, time.time_ns()))
        # One that is too old stays: nobody looked between it and the next.
        while len(self._shown) > 1 and self._shown[1][0] <= now - WRITTEN_OUT_SECONDS:
            self._shown.popleft()
        return min(shown_ns for _, shown_ns in self._shown) - WRITTEN_OUT_SECONDS * _NS
