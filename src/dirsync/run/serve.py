"""Runs one server from start to end, and is the one place that orders its end.

A signal, or what went wrong, cancels everything; each part closes itself. What hangs longer than SHUTDOWN_SECONDS is
left behind: the state is crash-safe, a hung disk is no reason to stay.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType

from dirsync.core.entry import Role
from dirsync.errors import DirsyncError
from dirsync.limits import SHUTDOWN_SECONDS
from dirsync.net.tls import Credential
from dirsync.run.checks import check_role
from dirsync.run.credential import ensure_credential
from dirsync.run.emitting import Sink
from dirsync.run.memory import give_back_at_each_rest
from dirsync.run.settings import Settings
from dirsync.store.database import Database

_Run = Callable[[Settings, Credential, Database, Sink], Awaitable[None]]
_GARBAGE_THRESHOLDS = (100_000, 20, 20)
"""What is made, net, between two collections; tasks and exceptions make the cycles, a few hundred bytes each."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHOES = frozenset({"socket.send() raised exception.", "SSL connection is closed"})
"""What asyncio says of each record that its TLS still has for a connection that broke; we announce that it did."""


def serve(role: Role, settings: Settings, sink: Sink) -> int:
    """Run a server until SIGTERM or SIGINT and return the exit status.

    Raises a DirsyncError where it cannot start, or cannot go on.
    """
    run = _runner_of(role)
    with asyncio.Runner() as runner:
        return runner.run(_serve(run, role, settings, sink))


async def _serve(run: _Run, role: Role, settings: Settings, sink: Sink) -> int:
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(_run_role(run, role, settings, sink), name=f"role {role}")

    def stop() -> None:
        end_soon(0)
        work.cancel()

    def stop_from_signal(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)

    for number in _SIGNALS:
        signal.signal(number, stop_from_signal)
    try:
        await work
    except asyncio.CancelledError:
        return 0
    except BaseExceptionGroup as group:
        end_soon(1)
        raise _first(group) from group
    finally:
        # It is ending: told again, it must not die of that half-way through the end of the interpreter.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return 0


async def _run_role(run: _Run, role: Role, settings: Settings, sink: Sink) -> None:
    _expect_much_that_stays()
    logging.getLogger("asyncio").addFilter(is_no_echo)
    check_role(settings, role)
    credential = Credential.load(ensure_credential(settings))
    database = Database.open(settings.state_of(role))
    memory = asyncio.create_task(give_back_at_each_rest(), name="memory")
    try:
        await run(settings, credential, database, sink)
    finally:
        memory.cancel()
        database.close()


def _runner_of(role: Role) -> _Run:
    """Load what one role consists of: for the other one that is time at the start, and memory."""
    if role is Role.A:
        from dirsync.run.role_a import run_a  # noqa: PLC0415

        return run_a
    from dirsync.run.role_b import run_b  # noqa: PLC0415

    return run_b


def is_no_echo(record: logging.LogRecord) -> bool:
    """Return whether this is more than an echo of a connection that broke."""
    return record.getMessage() not in _ECHOES


def _expect_much_that_stays() -> None:
    """Have the garbage collector leave alone what is there, and look less often at what comes.

    A server holds a few values for each file, none of them in a cycle; walking them again and again in vain took a
    third of a first start.
    """
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def end_soon(code: int) -> None:
    """End the process with this status if it has not ended by itself in time, whatever hangs."""
    watchdog = threading.Timer(SHUTDOWN_SECONDS, os._exit, (code,))
    watchdog.daemon = True
    watchdog.start()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show: one of ours if there is one, for it says what to do."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, DirsyncError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
