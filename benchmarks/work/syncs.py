"""How often dirsync syncs: counted by strace at both servers, which slows them, so nothing is timed here."""

import shutil
import time
from pathlib import Path

from benchmarks.results import Figure
from benchmarks.tools import Dirsync, Tool
from benchmarks.trees import small_names, write_small
from benchmarks.waiting import marks_of
from benchmarks.work.interface import Trial, Work

BATCH_FILES = 256
"""What dirsync applies at once at most."""
_CALLS = "fsync,fdatasync,syncfs,sync,sync_file_range,msync"


class Syncs(Work):
    """Sync calls for one small change, and for a burst."""

    name = "syncs"

    def takes(self, tool: type[Tool]) -> bool:
        """Say yes to dirsync alone, where strace is installed."""
        return tool is Dirsync and shutil.which("strace") is not None

    def measure(self, trial: Trial) -> None:
        """Make one change and one burst at A, counting at A and at B what each costs."""
        if not isinstance(trial.tool, Dirsync):
            raise TypeError(trial.tool)
        logs = {role: trial.pair.own / f"strace-{role}" for role in "ab"}
        trial.tool.tracers = {
            role: ("strace", "-f", "-qq", "-e", f"trace={_CALLS}", "-o", log) for role, log in logs.items()
        }
        trial.start()
        trial.rest()
        before = {role: _count(log) for role, log in logs.items()}
        trial.probe()
        trial.rest()
        for role, log in logs.items():
            title = f"sync calls for one small change each way, Server {role.upper()}"
            trial.note(Figure(f"syncs.one.{role}", title, "calls"), [_count(log) - before[role]])
        names = small_names(trial.scale.burst, "s")
        before = {role: _count(log) for role, log in logs.items()}
        write_small(trial.pair.a, names)
        trial.carry(time.perf_counter(), a=marks_of(trial.pair.a, names))
        trial.rest()
        for role, log in logs.items():
            calls = (_count(log) - before[role]) * BATCH_FILES / len(names)
            title = f"sync calls per {BATCH_FILES} files of a burst at A, Server {role.upper()}"
            trial.note(Figure(f"syncs.batch.{role}", title, "calls"), [calls])


def _count(log: Path) -> int:
    """Return how many calls have been made; one that was interrupted in the log by another counts once."""
    return sum("(" in line for line in log.read_text(errors="replace").splitlines())
