"""Every work there is, in the order of the report."""

from benchmarks.scale import Scale
from benchmarks.work.bursts import Burst
from benchmarks.work.interface import Trial, Work
from benchmarks.work.latency import Latency


def works(_scale: Scale) -> list[Work]:
    """Return the works at this scale."""
    return [Latency(), Burst()]


__all__ = ["Trial", "Work", "works"]
