"""Waits until a tree shows what it shall: the only clock of the comparison.

A look costs one `lstat` of one name (the first that is still missing), so watching does not take from who is watched.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.001
FINE_LOOK_SECONDS = 0.0002
"""For a single change, which takes milliseconds."""
COMPARE_AGAIN_SECONDS = 0.05
STRAYS_SECONDS = 10.0
"""How long after the last name was right something else may still differ, a temporary file of the tool for instance."""


class TooSlow(Exception):
    """What was waited for did not come in time, or not at all."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How a name looks from outside when it is done. Absent: `size` is None."""

    name: str
    size: int | None = None
    mode: int = 0
    mtime_ns: int = 0

    def is_shown(self, root: str, within_ns: int) -> bool:
        """Say whether the tree at `root` shows it, times compared as far as the tool keeps them."""
        try:
            status = os.lstat(f"{root}/{self.name}")
        except FileNotFoundError:
            return self.size is None
        return (
            status.st_size == self.size
            and status.st_mode == self.mode
            and abs(status.st_mtime_ns - self.mtime_ns) <= within_ns
        )


def marks_of(root: Path, names: Iterable[str]) -> list[Mark]:
    """Return how these files look now."""
    marks = []
    for name in names:
        status = os.lstat(root / name)
        marks.append(Mark(name, status.st_size, status.st_mode, status.st_mtime_ns))
    return marks


def wait_shown(
    root: Path, marks: Sequence[Mark], seconds_max: float, within_ns: int = 0, look_seconds: float = LOOK_SECONDS
) -> float:
    """Wait until every mark is shown at `root` and return the moment (`perf_counter`) of the last look.

    Raises:
        TooSlow: one was not shown in time; the message names it.

    """
    text = os.fspath(root)
    deadline = time.perf_counter() + seconds_max
    for number, mark in enumerate(reversed(marks)):
        while not mark.is_shown(text, within_ns):
            if time.perf_counter() > deadline:
                raise TooSlow(
                    f"{mark.name} ({len(marks) - number} of {len(marks)}) not as it shall be: {seconds_max} s"
                )
            time.sleep(look_seconds)
    return time.perf_counter()


def wait_true(condition: Callable[[], bool], what: str, seconds_max: float) -> float:
    """Wait for a condition that is cheap to look at and return the moment.

    Raises:
        TooSlow: it did not hold in time.

    """
    deadline = time.perf_counter() + seconds_max
    while not condition():
        if time.perf_counter() > deadline:
            raise TooSlow(f"waited {seconds_max} s for {what}")
        time.sleep(LOOK_SECONDS)
    return time.perf_counter()
