"""A work: what is done to a pair of directories, and what of it is measured. A trial: one tool doing it once."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from benchmarks.pairs import Pair, Side
from benchmarks.results import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Tool
from benchmarks.trees import differences
from benchmarks.waiting import COMPARE_AGAIN_SECONDS, STRAYS_SECONDS, Mark, marks_of, wait_shown

Note = Callable[[Figure, Iterable[float]], None]

REST_SECONDS = 0.3
REST_SECONDS_MAX = 4.0
REST_SHARE = 0.05


class TreesDiffer(Exception):
    """The tool has ended its work and the trees are not the same."""


class Trial:
    """One tool doing one work once: the clock, the waiting, the comparison on disk."""

    def __init__(self, tool: Tool, scale: Scale, note: Note) -> None:
        self.tool = tool
        self.scale = scale
        self.note = note
        self._probes = 0

    @property
    def pair(self) -> Pair:
        """The directories."""
        return self.tool.pair

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides at which a change is brought over."""
        return ("a", "b") if self.tool.is_two_way else ("a",)

    def start(self) -> None:
        """Start the tool and wait until changes get over, each way that it has."""
        self.tool.prepare()
        self.tool.start()
        self.probe()

    def probe(self) -> None:
        """Have one new file brought over each way, and wait for it."""
        self.carry(time.perf_counter(), **self.write_probes())

    def write_probes(self) -> dict[str, Sequence[Mark]]:
        """Write one new file at each side from which changes are brought over."""
        self._probes += 1
        marks: dict[str, Sequence[Mark]] = {}
        for side in self.sides:
            name = f"probe-{side}-{self._probes}"
            (self.pair.at(side) / name).write_text(name)
            marks[side] = marks_of(self.pair.at(side), [name])
        return marks

    def carry(self, since: float, a: Sequence[Mark] = (), b: Sequence[Mark] = ()) -> float:
        """Have the changes of A (and of B) brought over; return the seconds until the trees were the same.

        Raises:
            TooSlow: a change was not brought over in time.
            TreesDiffer: all were, and something else differs and goes on to differ.

        """
        # B first: a tool that makes B like A deletes what is new there, so it has to have fetched that.
        changed: list[tuple[Side, Sequence[Mark]]] = [("b", b), ("a", a)]
        for side, marks in changed:
            if marks:
                self.tool.nudge(side)
        shown = since
        for side, marks in changed:
            shown = max(shown, self.wait_shown(side, marks)) if marks else shown
        return self._moment_alike(shown) - since

    def wait_shown(self, source: Side, marks: Sequence[Mark]) -> float:
        """Wait until the other side shows what was changed at `source`, and return the moment."""
        other = self.pair.b if source == "a" else self.pair.a
        return wait_shown(other, marks, self.scale.wait_seconds, self.tool.times_within_ns)

    def _moment_alike(self, shown: float) -> float:
        deadline = shown + STRAYS_SECONDS
        moment = shown
        while found := differences(self.pair.a, self.pair.b, self.tool.own_names, self.tool.times_within_ns):
            if moment > deadline:
                raise TreesDiffer("; ".join(found[:5]))
            time.sleep(COMPARE_AGAIN_SECONDS)
            moment = time.perf_counter()
        return moment

    def rest(self) -> None:
        """Wait, but not for ever, until the tool rests: what it still does is no part of the next figure."""
        self.pair.settle_disk()
        for _ in range(int(REST_SECONDS_MAX / REST_SECONDS) if self.tool.is_live else 0):
            before = self.tool.cpu_seconds()
            time.sleep(REST_SECONDS)
            if self.tool.cpu_seconds() - before < REST_SHARE * REST_SECONDS:
                return


class Work(ABC):
    """Something to be done with a pair of directories."""

    name: str

    def takes(self, tool: type[Tool]) -> bool:
        """Say whether a tool is measured at it."""
        return not tool.is_floor

    @abstractmethod
    def measure(self, trial: Trial) -> None:
        """Do it once and note what was found. Whatever is raised is the tool's failure."""
