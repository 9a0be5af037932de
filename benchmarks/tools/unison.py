"""Unison between a client at A and a server process at B, over a loopback socket, repeating by itself.

It watches where its helper is installed (Debian does not package it); without, it looks at everything once a second.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.pairs import Pair
from benchmarks.processes import free_port
from benchmarks.tools.interface import READY_SECONDS_MAX, Tool, first_line
from benchmarks.waiting import wait_true

_HELPER = "unison-fsmonitor"
_STARTED = "server started"


def _repeat() -> str:
    return "watch" if shutil.which(_HELPER) else "1"


class Unison(Tool):
    """Both ways. Times are kept to the second."""

    name: ClassVar[str] = "unison"
    times_within_ns: ClassVar[int] = 1_000_000_000

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._port = str(free_port())

    def environment(self, pair: Pair) -> Mapping[str, str]:
        """Return a directory of its own for its archives, too."""
        return {**super().environment(pair), "UNISON": str(pair.own / "unison")}

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed program and how it repeats."""
        line = first_line("unison", "-version")
        return f"{line.split()[2]} (-repeat {_repeat()})" if line else None

    def prepare(self) -> None:
        """Start the server, which learns of B from the client, and wait until it has said so."""
        self.daemons.start(["unison", "-socket", self._port, "-listen", "127.0.0.1"])
        # It serves one connection after the other: to knock would take the client's turn.
        wait_true(lambda: _STARTED in self.daemons.log.read_text(), "the unison server", READY_SECONDS_MAX)

    def start(self) -> None:
        """Start the client."""
        words: list[str | Path] = ["unison", self.pair.a, f"socket://127.0.0.1:{self._port}/{self.pair.b}"]
        words += ["-ui", "text", "-batch", "-times", "-confirmbigdel=false", "-repeat", _repeat()]
        words += ["-logfile", self.pair.own / "unison.log"]
        self.processes.start(words)
