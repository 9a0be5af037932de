"""Turns the values of several runs into what is shown: median, spread, percentiles, ratios. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Results


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of one figure of one tool. The spread is that of the runs; `pooled` holds all values, sorted."""

    median: float
    least: float
    most: float
    runs: int
    pooled: tuple[float, ...]

    @property
    def is_distribution(self) -> bool:
        """Whether a run has more than one value."""
        return len(self.pooled) > self.runs

    def percentile(self, percent: float) -> float:
        """Return the value that so many percent of all values do not exceed (nearest rank)."""
        rank = -(-len(self.pooled) * percent // 100)
        return self.pooled[max(0, int(rank) - 1)]


def summarise(runs: Sequence[Sequence[float]]) -> Summary | None:
    """Summarise the runs of a figure; None if there is none. A run counts by its median."""
    medians = [statistics.median(values) for values in runs if values]
    if not medians:
        return None
    pooled = tuple(sorted(value for values in runs for value in values))
    return Summary(statistics.median(medians), min(medians), max(medians), len(medians), pooled)


def summary_of(results: Results, place: str, figure: str, tool: str) -> Summary | None:
    """Summarise one figure of one tool at one place."""
    return summarise(results.runs(place, figure, tool))


def ratio(ours: Summary, theirs: Summary) -> float | None:
    """Return how many times as much the other takes: above 1, we are ahead. None where we take nothing."""
    return theirs.median / ours.median if ours.median > 0 else None
