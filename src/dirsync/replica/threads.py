"""The threads in which a near replica does what blocks.

Owns how many there are of which kind, so that nothing small waits for anything large. What they return is handed to the
event loop; they change nothing of the replica themselves.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LOOKS = 2
"""Batches of looks at a time: one may be held up by a slow file while the other goes on."""
_BULK = 3
_LARGE = 2
_FINISHES = 2
_APPLIES = 2
"""One waits for the disk while the other works."""


class Threads:
    """Worker threads by kind of work. Each method runs a blocking call there and returns what it returns."""

    def __init__(self) -> None:
        self._looks = ThreadPoolExecutor(LOOKS, "dirsync-look")
        self._bulk = ThreadPoolExecutor(_BULK, "dirsync-bulk")
        self._larges = ThreadPoolExecutor(_LARGE, "dirsync-large")
        self._finishes = ThreadPoolExecutor(_FINISHES, "dirsync-finish")
        self._applies = ThreadPoolExecutor(_APPLIES, "dirsync-apply")
        self._records = ThreadPoolExecutor(1, "dirsync-record")
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def look(self, call: Callable[[], T]) -> T:
        """Look at some paths."""
        return await self._run(self._looks, call)

    async def bulk(self, call: Callable[[], T]) -> T:
        """Read or write much, a part at a time: scans, transfers, batches of small contents."""
        return await self._run(self._bulk, call)

    async def look_at_large(self, call: Callable[[], T]) -> T:
        """Look at one large file: that takes as long as reading all of it, and nothing else waits for it."""
        return await self._run(self._larges, call)

    async def finish(self, call: Callable[[], T]) -> T:
        """Wait for the disk to have all of something large, which may take seconds in which bulk work goes on."""
        return await self._run(self._finishes, call)

    async def surely(self, call: Callable[[], None]) -> None:
        """Give something back: done also where the caller is cancelled meanwhile, which is raised after it."""
        work = asyncio.ensure_future(self.bulk(call))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            work.exception()  # whoever was cancelled asks for no reason
            raise

    async def apply(self, call: Callable[[], T]) -> T:
        """Change the directory; of several calls each touches other paths."""
        return await self._run(self._applies, call)

    async def record(self, call: Callable[[], T]) -> T:
        """Write to the database; one call at a time, in order."""
        return await self._run(self._records, call)

    def tell(self, call: Callable[[], None]) -> None:
        """Have something done by the event loop. Called by worker threads."""
        self._loop.call_soon_threadsafe(call)

    async def wait_idle(self) -> None:
        """Wait until no call is under way."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """Wait for the calls under way and end the threads; what has not begun is dropped."""
        for pool in (self._looks, self._bulk, self._larges, self._finishes, self._applies, self._records):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        self._running += 1
        self._is_idle.clear()
        # The thread itself says when it is done: its awaiting task may have been cancelled long before.
        job = pool.submit(call)
        job.add_done_callback(lambda _: self.tell(self._ended))
        return await asyncio.wrap_future(job)

    def _ended(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._is_idle.set()
