"""One small change at a time: from the return of the write until the other side shows it."""

import itertools
import os
import random
import time
from collections.abc import Iterator

from benchmarks.pairs import Side
from benchmarks.results import Figure
from benchmarks.scale import show_size
from benchmarks.tools import Tool
from benchmarks.trees import write_large
from benchmarks.waiting import FINE_LOOK_SECONDS, TooSlow, marks_of, wait_shown
from benchmarks.work.interface import TreesDiffer, Trial, Work

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.02, 0.05
PAUSE_FACTOR = 1.5
NAME = "small.txt"
IDLE: dict[Side, Figure] = {
    "a": Figure("change.a_b", "one small change, A to B", "ms"),
    "b": Figure("change.b_a", "one small change, B to A", "ms"),
}


class Latency(Work):
    """Small changes while nothing else happens, each way."""

    name = "change"

    def measure(self, trial: Trial) -> None:
        """Change one small file over and over at A, then at B."""
        trial.start()
        for side in trial.sides:
            trial.rest()
            trial.note(IDLE[side], list(_changes(trial, side)))
        trial.probe()


def _changes(trial: Trial, side: Side) -> Iterator[float]:
    """Make changes, as many as shall be or as fit; yield the milliseconds that each took."""
    until = time.perf_counter() + trial.scale.changes_seconds
    taken = 0.0
    for number in range(trial.scale.changes):
        taken = change(trial, side, number, taken)
        yield taken * 1000
        if time.perf_counter() > until:
            return


def change(trial: Trial, side: Side, number: int, before: float) -> float:
    """Change the small file once and return the seconds until the other side shows it.

    Pauses first for a random time that grows with what the change before took, so that a tool with a beat is not met at
    the same point of it each time.
    """
    longest = max(PAUSE_SECONDS_MAX, PAUSE_FACTOR * before)
    time.sleep(random.Random(number).uniform(PAUSE_SECONDS_MIN, longest))
    path = trial.pair.at(side) / NAME
    # Another length each time, for tools that tell times apart by the second.
    path.write_bytes(f"{side} {number} ".encode() * (4 + number % 50))
    written = time.perf_counter()
    marks = marks_of(trial.pair.at(side), [NAME])
    trial.tool.nudge(side)
    other = trial.pair.b if side == "a" else trial.pair.a
    shown = wait_shown(other, marks, trial.scale.wait_seconds, trial.tool.times_within_ns, FINE_LOOK_SECONDS)
    if (other / NAME).read_bytes() != path.read_bytes():
        raise TreesDiffer(f"{NAME} has the size and time of the change and another content")
    return shown - written


class LatencyUnderLoad(Work):
    """Small changes, each way in turn, while one large file is on its way from A to B."""

    name = "busy"

    def takes(self, tool: type[Tool]) -> bool:
        """Say no to tools that somebody has to run: he would wait."""
        return tool.is_live

    def measure(self, trial: Trial) -> None:
        """Move the large file in and change the small one until it has arrived."""
        prepared = trial.pair.aside / "large"
        write_large(prepared, trial.scale.large, seed=1)
        trial.start()
        change(trial, "a", 0, 0)
        trial.rest()
        os.rename(prepared, trial.pair.a / "large")
        since = time.perf_counter()
        (large,) = marks_of(trial.pair.a, ["large"])
        taken = [0.0]
        sides = itertools.cycle(trial.sides)
        while not large.is_shown(os.fspath(trial.pair.b), trial.tool.times_within_ns):
            taken.append(change(trial, next(sides), len(taken), taken[-1]))
            if time.perf_counter() > since + trial.scale.wait_seconds:
                raise TooSlow(f"the large file has not arrived in {trial.scale.wait_seconds} s")
        whole = trial.carry(since, a=[large])
        milliseconds = [seconds * 1000 for seconds in taken[1:]]
        trial.note(Figure("busy.change", "one small change while a large file is on its way", "ms"), milliseconds)
        trial.note(Figure("busy.large", f"that file of {show_size(trial.scale.large)}", "s"), [whole])
