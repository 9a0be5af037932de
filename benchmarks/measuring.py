"""The course of a comparison: every run does every work with every tool in turn, and each run begins with another.

So whatever the machine does meanwhile meets all of them. What a tool fails at is noted and the others go on.
"""

import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Sequence

from benchmarks.machine import describe_failure
from benchmarks.pairs import fresh_pair
from benchmarks.places import Place
from benchmarks.results import Failure, Figure, Results
from benchmarks.scale import Scale
from benchmarks.tools import Tool
from benchmarks.waiting import TooSlow
from benchmarks.work import Trial, Work
from benchmarks.work.interface import TreesDiffer

FAILURES = (AssertionError, OSError, TooSlow, TreesDiffer, subprocess.SubprocessError, sqlite3.Error)
Say = Callable[[str], None]


class Comparison:
    """One place, some tools, some works."""

    def __init__(self, place: Place, scale: Scale, results: Results, say: Say) -> None:
        self._place = place
        self._scale = scale
        self._results = results
        self._say = say
        results.places[place.name] = place.file_system

    def run(self, works: Sequence[Work], tools: Sequence[type[Tool]], number: int) -> None:
        """Do every work once with every tool that takes it."""
        for work in works:
            taking = [tool for tool in tools if work.takes(tool)]
            first = number % len(taking) if taking else 0
            for tool in taking[first:] + taking[:first]:
                self._say(f"{self._place.name}: run {number + 1}, {work.name}, {tool.name}")
                self._try(work, tool)

    def _try(self, work: Work, kind: type[Tool]) -> None:
        def note(figure: Figure, values: Iterable[float]) -> None:
            found = list(values)
            self._results.add(self._place.name, figure, kind.name, found)
            shown = f"{sorted(found)[len(found) // 2]:.4g}" if found else "nothing"
            self._say(f"    {figure.title}: {shown} {figure.unit}")

        with fresh_pair(self._place.root) as pair:
            tool = kind(pair)
            try:
                work.measure(Trial(tool, self._scale, note))
                reasons = tool.complaints()
            except FAILURES as error:
                reasons = [describe_failure(error), *tool.complaints()]
            finally:
                tool.close()
            for reason in reasons:
                self._say(f"    FAILED: {reason}")
                self._results.failures.append(Failure(self._place.name, work.name, kind.name, reason))
