"""Every tool that can be compared; dirsync is the first."""

from benchmarks.tools.dirsync import Dirsync
from benchmarks.tools.floors import Copy, DurableCopy
from benchmarks.tools.interface import Tool
from benchmarks.tools.rsync import Rsync

TOOLS: tuple[type[Tool], ...] = (Dirsync, Rsync, Copy, DurableCopy)

__all__ = ["TOOLS", "Tool"]
