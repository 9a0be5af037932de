"""Servers and clients as real processes, started by forking a process that has loaded the program already.

What a fork saves is the import of the program, nothing else: the child runs the same command line with its own
descriptors, and dies alone. The parent has no threads; it hears its children through pipes.
"""

import ctypes
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dirsync.cli import keeping, locking, overview, serving  # noqa: F401  loaded once, for all children
from dirsync.cli.main import dirsync, lab3
from tests.torture import shim

SECONDS_MAX = 30.0
_PR_SET_PDEATHSIG = 1
_COMMANDS = {"dirsync": dirsync, "lab3": lab3}

Said = dict[str, object]


class Stuck(AssertionError):
    """What was waited for did not come, or somebody died who should not have."""


class Process:
    """A child that runs one command line. Its output is in `out`, complaints in `err`; `status` is None while it runs.

    A server's output is its events, one object a line, in `said`.
    """

    def __init__(self, words: list[str], control: Path | None, before: Callable[[], None] | None) -> None:
        self.words = words
        self.out, self.err = "", ""
        self.said: list[Said] = []
        self.status: int | None = None
        self._unread = b""
        readers, writers = zip(os.pipe(), os.pipe(), strict=True)
        self.id = os.fork()
        if self.id == 0:
            _live(words, writers, control, before)
        for writer in writers:
            os.close(writer)
        self.readers: tuple[int, ...] = readers

    def hear(self, reader: int) -> bool:
        """Take what there is to read; False at the end of it."""
        data = os.read(reader, 1 << 16)
        if reader == self.readers[1]:
            self.err += data.decode(errors="replace")
            return bool(data)
        self.out += data.decode(errors="replace")
        *lines, self._unread = (self._unread + data).split(b"\n")
        if "serve" in self.words:
            self.said += [json.loads(line) for line in lines]
        return bool(data)

    def count(self, name: str, **fields: object) -> int:
        """Return how often this was said."""
        return sum(e["event"] == name and all(e.get(k) == v for k, v in fields.items()) for e in self.said)


class Processes:
    """All children of one point. Every wait ends when its condition holds, or fails after SECONDS_MAX."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._alive: list[Process] = []
        self._all: list[Process] = []

    def start(self, *words: str, control: Path | None = None, before: Callable[[], None] | None = None) -> Process:
        """Start a command line. `before` runs in the child first."""
        sys.stdout.flush()
        process = Process(list(words), control, before)
        self._alive.append(process)
        self._all.append(process)
        for reader in process.readers:
            self._selector.register(reader, selectors.EVENT_READ, process)
        return process

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Hear the children until the condition holds. Raises Stuck."""
        deadline = time.monotonic() + SECONDS_MAX
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or not self._alive:
                tails = [(p.words[:4], p.status, p.said[-6:], p.err[-400:]) for p in self._all]
                raise Stuck(f"waited in vain for {what}; at last: {tails}")
            for key, _ in self._selector.select(left):
                process: Process = key.data
                if not process.hear(key.fd):
                    self._end_reading(process, key.fd)

    def wait_end(self, process: Process) -> int:
        """Wait until a process has ended, and return its status (negative: the signal)."""
        self.wait(lambda: process.status is not None, f"the end of {' '.join(process.words)}")
        assert process.status is not None
        return process.status

    def run(self, *words: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        process = self.start(*words)
        status = self.wait_end(process)
        if status != 0:
            raise Stuck(f"`{' '.join(words)}` ended with {status}: {process.err.strip()}")
        return process.out

    def kill(self, process: Process) -> None:
        """End a process as kill -9 does."""
        if process.status is None:
            os.kill(process.id, signal.SIGKILL)
            self.wait_end(process)

    def close(self) -> None:
        """End whatever still runs."""
        for process in list(self._alive):
            self.kill(process)
        self._selector.close()

    def _end_reading(self, process: Process, reader: int) -> None:
        self._selector.unregister(reader)
        os.close(reader)
        process.readers = tuple(r if r != reader else -1 for r in process.readers)
        if not any(r >= 0 for r in process.readers):
            _, status = os.waitpid(process.id, 0)
            process.status = os.waitstatus_to_exitcode(status)
            self._alive.remove(process)


def _live(words: list[str], writers: tuple[int, ...], control: Path | None, before: Callable[[], None] | None) -> None:
    """Be the child: run the command line and end."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, writer in enumerate(writers, 1):
            os.dup2(writer, number)
        os.closerange(3, 256)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  the streams of the parent are not ours
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        if before is not None:
            before()
        if control is not None:
            shim.attach(control)
        _COMMANDS[words[0]].main(words[1:])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  the end of a process: what escaped is its last word
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
