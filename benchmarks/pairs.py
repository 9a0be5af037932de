"""A fresh pair of directories for one measurement, below the place; it goes with all that the tool kept beside it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Side = Literal["a", "b"]
SIDES: tuple[Side, ...] = ("a", "b")


@dataclass(frozen=True, slots=True)
class Pair:
    """`home` holds the two directories, the tool's own files, and `aside`, on the same file system as all of them."""

    home: Path

    @property
    def a(self) -> Path:
        """The directory of the near side."""
        return self.home / "a"

    @property
    def b(self) -> Path:
        """The directory of the far side."""
        return self.home / "b"

    @property
    def aside(self) -> Path:
        """Where content is prepared that is moved into a directory at once."""
        return self.home / "aside"

    @property
    def own(self) -> Path:
        """What the tool keeps for itself."""
        return self.home / "own"

    def at(self, side: Side) -> Path:
        """Return the directory of a side."""
        return self.a if side == "a" else self.b

    def settle_disk(self) -> None:
        """Write back what preparing left in memory, so that nobody pays for it within a measurement."""
        subprocess.run(["sync", "-f", self.home], check=True)


@contextmanager
def fresh_pair(place: Path) -> Iterator[Pair]:
    """Lend a pair of empty directories."""
    pair = Pair(Path(tempfile.mkdtemp(prefix="pair-", dir=place)))
    try:
        for path in (pair.a, pair.b, pair.aside, pair.own):
            path.mkdir()
        yield pair
    finally:
        shutil.rmtree(pair.home, ignore_errors=True)
