"""Every work there is, in the order of the report."""

from benchmarks.scale import Scale
from benchmarks.work.bursts import Burst
from benchmarks.work.holds import Held
from benchmarks.work.interface import Trial, Work
from benchmarks.work.large_files import Delta, Large
from benchmarks.work.latency import Latency, LatencyUnderLoad
from benchmarks.work.metadata import Metadata
from benchmarks.work.syncs import Syncs
from benchmarks.work.whole_trees import EqualTrees, WholeTree


def works(scale: Scale) -> list[Work]:
    """Return the works at this scale."""
    return [
        Latency(),
        LatencyUnderLoad(),
        Burst(),
        *(WholeTree(count, is_for_all=True) for count in scale.trees),
        *(WholeTree(count, is_for_all=False) for count in scale.growing),
        EqualTrees(),
        Large(),
        Delta(),
        Metadata(),
        Held(),
        Syncs(),
    ]


__all__ = ["Trial", "Work", "works"]
