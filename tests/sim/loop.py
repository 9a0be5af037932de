"""The event loop of a simulation: virtual time, no selector, no thread, one order of everything.

What asyncio would do in threads is done in the loop itself, each call at one instant after a delay drawn from the
seed. Tasks and futures hash by serial number: the order of a set of them does not depend on addresses.
"""

import asyncio
import concurrent.futures
import contextvars
from collections import deque
from functools import partial
from heapq import heappop, heappush

from tests.sim.disk import Killed
from tests.sim.processes import current

BUSY_SECONDS = 0.001


class Stuck(AssertionError):
    """Nothing is scheduled any more: whoever waits, waits for ever."""


class Busy(Exception):
    """Raised by a blocking call that has to wait: it is called again a little later."""


class _Handle(asyncio.Handle):
    """A call that is due, or will be; made without what asyncio keeps for debugging."""

    __slots__ = ()

    def __init__(self, callback, args, loop, context):
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None


class _Numbered:
    """Hashes by a serial number that is given when it is first asked for."""

    count = 0

    def __hash__(self):
        try:
            return self._serial
        except AttributeError:
            _Numbered.count += 1
            self._serial = _Numbered.count
            return self._serial


class SimTask(_Numbered, asyncio.Task):
    """A task with a hash of its own and an owner."""

    def __init__(self, coro, process, **options):
        self.process = process
        super().__init__(coro, **options)


class SimFuture(_Numbered, asyncio.Future):
    """A future with a hash of its own."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop. `job_seconds(process, kind, call)` says how long a job waits and works; a pair of seconds."""

    def __init__(self, job_seconds=None):
        super().__init__()
        self.now = 1_000.0
        self._timers = []
        self._timer_count = 0
        self.job_seconds = job_seconds
        _Numbered.count = 0

    def time(self):
        return self.now

    def call_soon(self, callback, *args, context=None):
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = _Handle(callback, args, self, context)
        self._timer_count += 1  # what is due at the same time happens in the order in which it was asked for
        heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def _run_once(self):
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Stuck("nothing is scheduled")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

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
        before, after = self.job_seconds(process, kind, call)
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


class _NoCondition:
    """Nobody else runs: there is nothing to lock, and nobody waits in a thread."""

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass

    def notify_all(self):
        pass


class _Job(concurrent.futures.Future):
    """What a pool returns; without the lock and the condition that threads need."""

    def __init__(self):
        self._condition = _NOBODY_WAITS
        self._state = concurrent.futures._base.PENDING
        self._result = self._exception = None
        self._waiters, self._done_callbacks = (), []


_NOBODY_WAITS = _NoCondition()


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
        job = _Job()
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
