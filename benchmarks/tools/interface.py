"""What the comparison asks of a tool. One instance runs on one pair of directories."""

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.pairs import Pair, Side
from benchmarks.processes import Processes

RUN_SECONDS_MAX = 300.0
READY_SECONDS_MAX = 10.0


class Tool(ABC):
    """Keeps a pair of directories the same. The near side is A."""

    name: ClassVar[str]
    is_live: ClassVar[bool] = True
    """Notices changes by itself; a tool that does not is run by `nudge`."""
    is_two_way: ClassVar[bool] = True
    is_floor: ClassVar[bool] = False
    """Only shows what the machine can do; nobody would synchronise with it."""
    own_names: ClassVar[frozenset[str]] = frozenset()
    """What it keeps inside the directories for itself."""
    times_within_ns: ClassVar[int] = 0
    """How exactly it keeps times."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        log, environment = pair.own / "log", self.environment(pair)
        self.daemons = Processes(log, environment)
        self.processes = Processes(log, environment)

    def environment(self, pair: Pair) -> Mapping[str, str]:
        """Return what it is told by its environment: a home of its own."""
        return {"HOME": str(pair.own), "XDG_CACHE_HOME": str(pair.own / "cache")}

    @staticmethod
    @abstractmethod
    def version() -> str | None:
        """Return its version; None if it is not installed."""

    def prepare(self) -> None:
        """Make its configuration, and start what waits for others and knows nothing of the pair (a daemon)."""

    def start(self) -> None:
        """Start what keeps the directories the same, without waiting for it."""

    def nudge(self, _source: Side) -> None:
        """Bring over what was changed at a side, if it has to be told. Returns when that has ended."""

    def stop(self) -> None:
        """End what `start` started, in an orderly way, so that it can be started again."""
        self.processes.stop()

    def close(self) -> None:
        """End everything."""
        self.processes.stop()
        self.daemons.stop()

    def cpu_seconds(self) -> float:
        """Return the processor time of everything of it that runs."""
        return self.processes.cpu_seconds() + self.daemons.cpu_seconds()

    def memory_bytes(self) -> int:
        """Return the resident memory of everything of it that runs."""
        return self.processes.memory_bytes() + self.daemons.memory_bytes()

    def complaints(self) -> list[str]:
        """Return what of it ended or failed although nobody told it to."""
        return [f"{name} ended by itself" for name in (*self.daemons.dead(), *self.processes.dead())]


def first_line(*words: str | Path) -> str | None:
    """Return the first line that a command prints; None if it is not installed."""
    if not shutil.which(words[0]):
        return None
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()
