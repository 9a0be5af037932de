"""The event loop of a simulation: virtual time, no selector, no thread, one order of everything.

What asyncio would do in threads is done in the loop itself, each call at one instant after a delay drawn from the
seed. Tasks and futures hash by serial number: the order of a set of them does not depend on addresses.
"""

import asyncio
import concurrent.futures
import contextvars
from collections import deque
from functools import partial

from tests.sim.disk import Killed
from tests.sim.processes import current

BUSY_SECONDS = 0.001


class Stuck(AssertionError):
    """Nothing is scheduled any more: whoever waits, waits for ever."""


class Busy(Exception):
    """Raised by a blocking call that has to wait: it is called again a little later."""


class _NoSelector:
    def __init__(self):
        self.now = 1_000.0

    def select(self, timeout):
        if timeout is None:
            raise Stuck("nothing is scheduled")
        self.now += timeout
        return ()


class SimTask(asyncio.Task):
    """A task with a hash of its own and an owner."""

    _count = 0

    def __init__(self, coro, process, **options):
        self.process = process
        SimTask._count += 1
        self._serial = SimTask._count
        super().__init__(coro, **options)

    def __hash__(self):
        return self._serial

    def __eq__(self, other):
        return self is other


class SimFuture(asyncio.Future):
    """A future with a hash of its own."""

    def __init__(self, **options):
        SimTask._count += 1
        self._serial = SimTask._count
        super().__init__(**options)

    def __hash__(self):
        return self._serial

    def __eq__(self, other):
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """The loop. `job_seconds(process, kind)` says how long a job of a kind waits and works; a pair of seconds."""

    def __init__(self, job_seconds=None):
        super().__init__()
        self._selector = _NoSelector()
        self.job_seconds = job_seconds
        SimTask._count = 0

    def time(self):
        return self._selector.now

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass

    def call_soon_threadsafe(self, callback, *args, context=None):
        return self.call_soon(callback, *args, context=context)

    def create_future(self):
        return SimFuture(loop=self)

    def create_task(self, coro, *, name=None, context=None):
        process = (context or contextvars.copy_context()).get(current)
        task = SimTask(coro, process, loop=self, name=name, context=context)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(partial(process.tasks.pop))
            if process.is_dead:
                task.cancel()
        return task

    def run_in_executor(self, executor, func, *args):
        """Have it done in the loop: `asyncio.to_thread` comes here."""
        process = current.get()
        future = self.create_future()
        self.begin_job(process, "thread", partial(func, *args), future)
        return future

    def begin_job(self, process, kind, call, future, on_end=None):
        """Do a blocking call at one instant after a while, and hand its outcome to the future after another while."""
        if process is not None:
            process.check()
        before, after = self.job_seconds(process, kind)
        self.call_later(before, self._do_job, process, call, future, after, on_end)

    def _do_job(self, process, call, future, after, on_end):
        if process is not None and process.is_dead:
            return
        if process is not None and process.hung_until > self.time():
            self.call_at(process.hung_until, self._do_job, process, call, future, after, on_end)
            return
        try:
            outcome = None if future.cancelled() else _outcome_of(call)
        except Busy:
            self.call_later(BUSY_SECONDS, self._do_job, process, call, future, after, on_end)
            return
        if process is not None and process.is_dead:
            return  # whoever waits was cancelled
        self.call_later(after, self._end_job, process, future, outcome, on_end)

    def _end_job(self, process, future, outcome, on_end):
        if process is not None and process.is_dead:
            return
        if on_end is not None:
            on_end()
        if outcome is None or future.cancelled():
            return
        result, error = outcome
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _outcome_of(call):
    try:
        return call(), None
    except Busy:
        raise
    except Killed:
        return None  # a dead thread hands nothing over
    except Exception as error:  # noqa: BLE001  whatever it is, it is for whoever waits
        return None, error


class SimPool:
    """Stands in for ThreadPoolExecutor: jobs of one pool begin in order, at most so many under way."""

    def __init__(self, max_workers, thread_name_prefix=""):
        self._free = max_workers
        self._under_way = 0
        self._kind = thread_name_prefix.removeprefix("dirsync-")
        self._process = current.get()
        self._waiting = deque()

    def submit(self, call):
        self._process.check()
        job = concurrent.futures.Future()
        self._waiting.append((contextvars.copy_context(), call, job))
        self._begin()
        return job

    def _begin(self):
        loop = asyncio.get_running_loop()
        while self._free and self._waiting:
            context, call, job = self._waiting.popleft()
            if not job.set_running_or_notify_cancel():
                continue
            self._free -= 1
            self._under_way += 1
            context.run(loop.begin_job, self._process, self._kind, call, job, self._ended)

    def _ended(self):
        self._free += 1
        self._under_way -= 1
        self._begin()

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Drop what has not begun, and wait for the rest."""
        if cancel_futures:
            while self._waiting:
                self._waiting.popleft()[2].cancel()
        if wait and self._under_way:
            raise Busy
