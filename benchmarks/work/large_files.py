"""Large files: one that is new, and what small changes of one in sync cost, in time and in bytes on the wire."""

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.processes import loopback_bytes
from benchmarks.results import Figure
from benchmarks.scale import MIB, show_size
from benchmarks.tools import Copy, DurableCopy, Tool, Transport
from benchmarks.trees import write_large
from benchmarks.waiting import Mark, marks_of
from benchmarks.work.interface import Trial, Work

NAME, NEW_NAME = "large", "renamed"
APPENDED_BYTES = MIB
INSERTED_BYTES = 1024
PLACES, PLACE_BYTES = 100, 4096
TRAILING_SECONDS = 0.2
"""After the trees are the same: acknowledgements still on their way belong to the change."""


class Large(Work):
    """One large file, moved into A while the tool is live."""

    name = "large"

    def takes(self, tool: type[Tool]) -> bool:
        """Say yes to the floors of large files, too."""
        return not tool.is_floor or tool in {Copy, DurableCopy, Transport}

    def measure(self, trial: Trial) -> None:
        """Move it in and wait until the trees are the same."""
        size = trial.scale.large
        figure = Figure("large.new", f"one file of {show_size(size)}", "s")
        if isinstance(trial.tool, Transport):
            trial.note(figure, [trial.tool.send(size)])
            return
        prepared = trial.pair.aside / NAME
        write_large(prepared, size, seed=2)
        if trial.tool.is_floor:
            trial.tool.prepare()
        else:
            trial.start()
        trial.rest()
        os.rename(prepared, trial.pair.a / NAME)
        since = time.perf_counter()
        trial.note(figure, [trial.carry(since, a=marks_of(trial.pair.a, [NAME]))])


class Delta(Work):
    """Changes of one large file that is in sync: appended to, inserted into, overwritten in places, renamed."""

    name = "delta"

    def takes(self, tool: type[Tool]) -> bool:
        """Say yes to the floor of what is durable, too: whoever replaces a file by a whole one writes all of it."""
        return not tool.is_floor or tool is DurableCopy

    def measure(self, trial: Trial) -> None:
        """Make one change after the other, each at A, each when the one before has come over."""
        path = trial.pair.a / NAME
        write_large(path, trial.scale.delta, seed=3)
        trial.tool.prepare()
        trial.tool.start()
        trial.carry(time.perf_counter(), a=marks_of(trial.pair.a, [NAME]))
        trial.probe()
        size = show_size(trial.scale.delta)
        _measure(trial, "append", f"{size} in sync, {show_size(APPENDED_BYTES)} appended", lambda: _append(path))
        longer = _with_insertion(path, trial.pair.aside)
        _measure(trial, "insert", f"{size} in sync, 1 KiB inserted", lambda: _replace(longer, path))
        what = f"{size} in sync, {PLACES} places of 4 KiB overwritten"
        _measure(trial, "overwrite", what, lambda: _overwrite(path))
        if not trial.tool.is_floor:
            _measure(trial, "rename", f"{size} in sync, renamed", lambda: _rename(path))


def _measure(trial: Trial, key: str, title: str, act: Callable[[], Sequence[Mark]]) -> None:
    trial.rest()
    carried = loopback_bytes()
    marks = act()
    since = time.perf_counter()
    trial.note(Figure(f"delta.{key}", title, "s"), [trial.carry(since, a=marks)])
    if trial.tool.is_floor:
        return
    time.sleep(TRAILING_SECONDS)
    trial.note(Figure(f"delta.{key}.bytes", "- on the wire", "bytes"), [loopback_bytes() - carried])


def _append(path: Path) -> list[Mark]:
    with path.open("ab") as file:
        file.write(random.Random(4).randbytes(APPENDED_BYTES))
    return marks_of(path.parent, [path.name])


def _with_insertion(path: Path, aside: Path) -> Path:
    """Return a copy, beside the directory, with something inserted in its middle."""
    longer = aside / "longer"
    with path.open("rb") as file, longer.open("wb") as copy:
        copy.write(file.read(path.stat().st_size // 2 + 12_345))
        copy.write(random.Random(5).randbytes(INSERTED_BYTES))
        shutil.copyfileobj(file, copy, MIB)
    return longer


def _replace(longer: Path, path: Path) -> list[Mark]:
    longer.replace(path)
    return marks_of(path.parent, [path.name])


def _overwrite(path: Path) -> list[Mark]:
    noise = random.Random(6)
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for _ in range(PLACES):
            file.seek(noise.randrange(size - PLACE_BYTES))
            file.write(noise.randbytes(PLACE_BYTES))
    return marks_of(path.parent, [path.name])


def _rename(path: Path) -> list[Mark]:
    path.rename(path.with_name(NEW_NAME))
    return [Mark(path.name), *marks_of(path.parent, [NEW_NAME])]
