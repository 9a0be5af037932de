"""lsyncd from A to an rsync daemon at B, without its delay, TCP_NODELAY at both ends."""

from typing import ClassVar

from benchmarks.pairs import Pair
from benchmarks.tools.interface import Tool, first_line
from benchmarks.tools.rsync import NODELAY, RsyncDaemon

_CONFIG = """\
settings {{
  nodaemon = true,
  statusFile = "{own}/lsyncd.status",
  maxProcesses = 1,
  maxDelays = 1,
}}
sync {{
  default.rsync,
  source = "{a}",
  target = "{url}",
  delay = 0,
  rsync = {{ archive = true, _extra = {{ "{nodelay}" }} }},
}}
"""


class Lsyncd(Tool):
    """One way only."""

    name: ClassVar[str] = "lsyncd"
    is_two_way: ClassVar[bool] = False

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._daemon = RsyncDaemon(pair)

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed program."""
        line = first_line("lsyncd", "--version")
        return line.split()[-1] if line else None

    def prepare(self) -> None:
        """Start the daemon and write the configuration."""
        self.daemons.start(self._daemon.command())
        self._daemon.wait_ready()
        text = _CONFIG.format(own=self.pair.own, a=self.pair.a, url=self._daemon.url, nodelay=NODELAY)
        (self.pair.own / "lsyncd.lua").write_text(text)

    def start(self) -> None:
        """Start lsyncd, which first has rsync compare both sides."""
        self.processes.start(["lsyncd", self.pair.own / "lsyncd.lua"])
