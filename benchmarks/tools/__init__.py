"""Every tool that can be compared; dirsync is the first."""

from benchmarks.tools.dirsync import Dirsync
from benchmarks.tools.floors import Copy, DurableCopy, Transport
from benchmarks.tools.interface import Tool
from benchmarks.tools.lsyncd import Lsyncd
from benchmarks.tools.rsync import Rsync
from benchmarks.tools.syncthing import Syncthing
from benchmarks.tools.unison import Unison

TOOLS: tuple[type[Tool], ...] = (Dirsync, Rsync, Lsyncd, Unison, Syncthing, Copy, DurableCopy, Transport)

__all__ = ["TOOLS", "Copy", "Dirsync", "DurableCopy", "Rsync", "Tool", "Transport"]
