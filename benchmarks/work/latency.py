"""One small change at a time: from the return of the write until the other side shows it."""

import random
import time
from collections.abc import Iterator

from benchmarks.pairs import Side
from benchmarks.results import Figure
from benchmarks.waiting import FINE_LOOK_SECONDS, marks_of, wait_shown
from benchmarks.work.interface import Trial, Work

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.02, 0.05
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
    for number in range(trial.scale.changes):
        yield change(trial, side, number) * 1000
        if time.perf_counter() > until:
            return


def change(trial: Trial, side: Side, number: int) -> float:
    """Change the small file once and return the seconds until the other side shows it."""
    pauses = random.Random(number)
    time.sleep(pauses.uniform(PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX))
    path = trial.pair.at(side) / NAME
    # Another length each time, for tools that tell times apart by the second.
    path.write_bytes(f"{side} {number} ".encode() * (4 + number % 50))
    written = time.perf_counter()
    marks = marks_of(trial.pair.at(side), [NAME])
    trial.tool.nudge(side)
    other = trial.pair.b if side == "a" else trial.pair.a
    shown = wait_shown(other, marks, trial.scale.wait_seconds, trial.tool.times_within_ns, FINE_LOOK_SECONDS)
    if (other / NAME).read_bytes() != path.read_bytes():
        raise AssertionError(f"{NAME} has the size and time of the change and another content")
    return shown - written
