"""An event loop whose clock advances instead of waiting: hours of back-off pass in no time, in a fixed order.

Work in other threads (the database) is waited for as it really is; the clock stands still meanwhile.
"""

import asyncio
import functools
import inspect
import selectors


class _ClockSelector(selectors.DefaultSelector):
    """Polls; where nothing is ready and no thread is at work, the clock goes on to the next timer."""

    def __init__(self):
        super().__init__()
        self.now = 1_000.0
        self.threads_at_work = 0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads_at_work:
            return super().select(None)
        self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop; `time()` is virtual seconds."""

    def __init__(self):
        self._clock = _ClockSelector()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now

    def run_in_executor(self, executor, func, *args):
        self._clock.threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _):
        self._clock.threads_at_work -= 1

    async def shutdown_default_executor(self, timeout=None):
        """Join the threads in real time: the limit that newer Pythons set would pass at once."""
        self._clock.threads_at_work += 1
        await super().shutdown_default_executor()


def run(coroutine, seconds_max=3_600.0):
    """Run a coroutine in virtual time, with asyncio's own checks; TimeoutError after so many virtual seconds."""

    async def within():
        async with asyncio.timeout(seconds_max):
            return await coroutine

    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=True) as runner:
        return runner.run(within())


def in_virtual_time(test):
    """Make a coroutine function a test that runs in virtual time."""
    assert inspect.iscoroutinefunction(test)

    @functools.wraps(test)
    def wrapper(*args, **kwargs):
        run(test(*args, **kwargs))

    # pytest-asyncio would take it for a coroutine function still.
    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.signature(test)
    return wrapper
