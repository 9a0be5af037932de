"""One process of a sweep: has the program loaded and the shim preloaded, and tells one scenario after the other.

Reads tasks from standard input and answers on standard output, an object a line. It forks the servers, so it has no
threads and keeps no event loop.
"""

import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.point import Outcome, Prepared
from tests.torture.scenarios import all_scenarios
from tests.torture.shim import HOW


@dataclass(frozen=True, slots=True)
class Task:
    """A scenario to be swept: all points in order, or as many as fit into `seconds`, drawn by `seed`.

    `first` is the point to begin with, `only` the one point to tell, both as in a name ("12", "12+", "12t").
    """

    scenario: str
    seed: int
    seconds: float | None = None
    first: str = ""
    only: str = ""


@dataclass(slots=True)
class Summary:
    """What a sweep of one scenario came to. `deaths` of the `told` points were reached; faults by point."""

    scenario: str
    calls: int
    points: int
    told: int
    deaths: int
    seconds: float
    faults: dict[str, str]


def sweep(task: Task, directory: Path) -> Summary:
    """Tell one scenario as often as the task says."""
    began = time.monotonic()
    home = directory / task.scenario
    home.mkdir()
    summary = Summary(task.scenario, 0, 0, 0, 0, 0.0, {})
    try:
        prepared = Prepared(all_scenarios()[task.scenario], home)
        trace = prepared.tell()
        if trace.fault:
            summary.faults["0"] = trace.fault
        points = [f"{number}{sign}" for number in range(1, trace.calls + 1) for sign in HOW]
        summary.calls, summary.points = trace.calls, len(points)
        for point in _chosen(task, points, began):
            outcome = tell_point(prepared, point)
            summary.told += 1
            summary.deaths += outcome.has_died
            if outcome.fault:
                summary.faults[point] = f"at {outcome.call}: {outcome.fault}"
    finally:
        shutil.rmtree(home)
    summary.seconds = time.monotonic() - began
    return summary


def tell_point(prepared: Prepared, point: str) -> Outcome:
    """Tell a scenario with a death at the point of this name."""
    number = point.rstrip("+t")
    return prepared.tell(int(number), point.removeprefix(number))


def _chosen(task: Task, points: Sequence[str], began: float) -> Iterator[str]:
    if task.only:
        yield task.only
        return
    if task.first:
        points = points[points.index(task.first) :]
    if task.seconds is not None:
        points = random.Random(f"{task.seed} {task.scenario}").sample(points, len(points))
    for point in points:
        yield point
        if task.seconds is not None and time.monotonic() - began > task.seconds:
            return


def main() -> None:
    """Sweep what standard input asks for, until it ends."""
    directory = Path(sys.argv[1])
    for line in sys.stdin:
        summary = sweep(Task(**json.loads(line)), directory)
        fields = {name: getattr(summary, name) for name in Summary.__slots__}
        print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
