"""What the machine can do: the least that copying costs, with and without being durable before visible."""

import sys
from pathlib import Path

from benchmarks.pairs import Side
from benchmarks.tools.interface import RUN_SECONDS_MAX, Tool, first_line


class Floor(Tool):
    """Copies when it is told to, from A to B; nobody would synchronise with it."""

    is_live = False
    is_two_way = False
    is_floor = True


class Copy(Floor):
    """`cp -a`: one process, no network, nothing synced."""

    name = "cp -a"

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed program."""
        line = first_line("cp", "--version")
        return line.split()[-1] if line else None

    def nudge(self, _source: Side) -> None:
        """Copy all of A over B."""
        self.processes.run(["cp", "-a", f"{self.pair.a}/.", f"{self.pair.b}/"], RUN_SECONDS_MAX)


class DurableCopy(Floor):
    """Write beside, sync, rename, 256 files at a time: what durable before visible costs by itself."""

    name = "write+sync+rename"

    @staticmethod
    def version() -> str | None:
        """Return that it is always there."""
        return "benchmarks/tools/durable_copy.py"

    def nudge(self, _source: Side) -> None:
        """Copy all of A over B."""
        words: list[str | Path] = [sys.executable, "-m", "benchmarks.tools.durable_copy", self.pair.a, self.pair.b]
        self.processes.run(words, RUN_SECONDS_MAX)


class Transport(Floor):
    """TLS 1.3 between two processes, from memory to nowhere."""

    name = "bare TLS"

    @staticmethod
    def version() -> str | None:
        """Return that it is always there."""
        return "benchmarks/tools/transport.py"

    def send(self, size: int) -> float:
        """Send so many bytes and return the seconds it took."""
        words: list[str | Path] = [sys.executable, "-m", "benchmarks.tools.transport", self.pair.own, str(size)]
        return float(self.processes.run(words, RUN_SECONDS_MAX))
