"""Times and permission bits of many files that are in sync, without any change of content."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import loopback_bytes
from benchmarks.results import Figure
from benchmarks.trees import LONG_AGO_NS, small_names, write_small
from benchmarks.waiting import marks_of
from benchmarks.work.interface import Trial, Work

NEW_MODE = 0o640


class Metadata(Work):
    """All files touched, then all files given other permission bits."""

    name = "metadata"

    def measure(self, trial: Trial) -> None:
        """Bring the files in sync, then change them all, twice."""
        names = small_names(trial.scale.metadata, "m")
        write_small(trial.pair.a, names, LONG_AGO_NS)
        trial.tool.prepare()
        trial.tool.start()
        trial.carry(time.perf_counter(), a=marks_of(trial.pair.a, names))
        trial.probe()
        _change(trial, names, "touch", os.utime)
        _change(trial, names, "chmod", lambda path: path.chmod(NEW_MODE))


def _change(trial: Trial, names: list[str], word: str, act: Callable[[Path], None]) -> None:
    trial.rest()
    carried = loopback_bytes()
    for name in names:
        act(trial.pair.a / name)
    since = time.perf_counter()
    taken = trial.carry(since, a=marks_of(trial.pair.a, names))
    trial.note(Figure(f"metadata.{word}", f"{word} of {len(names):,} files", "s"), [taken])
    trial.note(Figure(f"metadata.{word}.bytes", "- on the wire", "bytes"), [loopback_bytes() - carried])
