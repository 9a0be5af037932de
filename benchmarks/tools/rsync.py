"""rsync over a daemon on the loopback, TCP_NODELAY at both ends, run by hand after each change."""

import getpass
from pathlib import Path

from benchmarks.pairs import Pair, Side
from benchmarks.processes import free_port, is_listening
from benchmarks.tools.interface import READY_SECONDS_MAX, RUN_SECONDS_MAX, Tool, first_line
from benchmarks.waiting import wait_true

NODELAY = "--sockopts=TCP_NODELAY"
_CONFIG = """\
port = {port}
address = 127.0.0.1
use chroot = no
uid = {user}
gid = *
socket options = TCP_NODELAY
log file = {own}/rsyncd.log
[b]
path = {b}
read only = no
"""


class RsyncDaemon:
    """The daemon that serves B; who pushes to it is somebody else."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._port = free_port()

    @property
    def url(self) -> str:
        """Return where B is reached."""
        return f"rsync://127.0.0.1:{self._port}/b/"

    def command(self) -> list[str | Path]:
        """Write the configuration and return the command that serves it."""
        path = self._pair.own / "rsyncd.conf"
        text = _CONFIG.format(port=self._port, user=getpass.getuser(), own=self._pair.own, b=self._pair.b)
        path.write_text(text)
        return ["rsync", "--daemon", "--no-detach", "--config", path]

    def wait_ready(self) -> None:
        """Wait until it listens."""
        wait_true(lambda: is_listening(self._port), "the rsync daemon", READY_SECONDS_MAX)


class Rsync(Tool):
    """A run counts until it has ended."""

    name = "rsync"
    is_live = False

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._daemon = RsyncDaemon(pair)

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed program."""
        line = first_line("rsync", "--version")
        return line.split()[2] if line else None

    def prepare(self) -> None:
        """Start the daemon."""
        self.daemons.start(self._daemon.command())
        self._daemon.wait_ready()

    def nudge(self, source: Side) -> None:
        """Make B like A, or fetch what is newer at B."""
        near = f"{self.pair.a}/"
        ends = ["--delete", near, self._daemon.url] if source == "a" else ["--update", self._daemon.url, near]
        self.processes.run(["rsync", "-a", NODELAY, *ends], RUN_SECONDS_MAX)
