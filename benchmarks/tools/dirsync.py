"""dirsync in its default configuration: TLS, BLAKE3, archive, durable before visible, its notifications into a file."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.pairs import Pair
from benchmarks.tools.interface import RUN_SECONDS_MAX, Tool, first_line

BIN = Path(sys.executable).parent
_CONFIG = '[a]\ndirectory = "../a"\nlisten = "127.0.0.1:0"\n[b]\ndirectory = "../b"\nlisten = "127.0.0.1:0"\n'
_FAILED = ("error", "conflict", "paused", "Traceback")


class Dirsync(Tool):
    """Both servers, started at once."""

    name = "dirsync"

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.tracers: Mapping[str, Sequence[str | Path]] = {}
        """The words under which a server is run."""

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed package."""
        line = first_line(BIN / "dirsync", "--version")
        return line.split()[-1] if line else None

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.pair.own / "config.toml"

    def prepare(self) -> None:
        """Write the smallest configuration there is."""
        self.config.write_text(_CONFIG)

    def start(self) -> None:
        """Start both servers."""
        for role in "ba":
            words: list[str | Path] = [BIN / "dirsync", "serve", "--role", role, "--config", self.config]
            self.processes.start([*self.tracers.get(role, ()), *words])

    def command(self, *words: str) -> str:
        """Run `dirsync …` or `lab3 …` and return what it printed."""
        return self.processes.run([BIN / words[0], *words[1:], "--config", self.config], RUN_SECONDS_MAX)

    def complaints(self) -> list[str]:
        """Return which servers died, and what they called an error, a conflict or a safety stop."""
        found = super().complaints()
        if self.processes.log.exists():
            lines = self.processes.log.read_text(errors="replace").splitlines()
            # A line is: time, server, where there is one the direction, then the event.
            found += [line for line in lines if any(word in line.split()[1:6] for word in _FAILED)]
        return found[:20]
