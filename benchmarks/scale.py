"""How much of each work is done: for figures that count, and quickly, to see that everything runs."""

from dataclasses import dataclass

MIB = 1024**2
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in bytes, times in seconds, everything else in files or changes."""

    changes: int = 100
    """Small changes each way, and under load."""
    changes_seconds: float = 15.0
    """Slower tools make as many as fit."""
    burst: int = 2_000
    trees: tuple[int, ...] = (10_000, 50_000)
    """First synchronisation, idling and restart: for every tool."""
    growing: tuple[int, ...] = (1_000, 100_000, 200_000)
    """The same for dirsync and the fastest others, to see the cost of one file stay."""
    equal: int = 50_000
    large: int = GIB
    delta: int = 256 * MIB
    metadata: int = 1_000
    idle_seconds: float = 60.0
    """Several background scans fall into it."""
    listings: int = 15
    held: int = 1_000
    wait_seconds: float = 240.0
    """How long anything may take before it counts as failed."""


FULL = Scale()
QUICK = Scale(
    changes=20,
    changes_seconds=4.0,
    burst=500,
    trees=(2_000,),
    growing=(1_000, 5_000),
    equal=2_000,
    large=64 * MIB,
    delta=32 * MIB,
    metadata=200,
    idle_seconds=3.0,
    listings=5,
    held=50,
    wait_seconds=40.0,
)


def show_size(size: int) -> str:
    """Write a size of whole MiB or GiB."""
    return f"{size // GIB} GiB" if size % GIB == 0 else f"{size // MIB} MiB"
