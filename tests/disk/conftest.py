"""A real root, staging and kept area for each test, and a check that no descriptor is leaked."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.bench import Bench


def _open_below(*places: Path) -> list[str]:
    """Return what this process has open there; other tests' programs and threads open things elsewhere."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [name for name in found if name.startswith(tuple(map(str, places)))]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "root", tmp_path / "state")
    yield bench
    bench.close()
    assert not _open_below(tmp_path)


@pytest.fixture
def quick_bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench in memory where there is such a place: what is made durable thousands of times costs nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path, prefix="dirsync-") as home:
        bench = Bench(Path(home, "root"), Path(home, "state"))
        yield bench
        bench.close()
        assert not _open_below(Path(home))


@pytest.fixture
def far_bench(tmp_path: Path) -> Iterator[Bench]:
    """Put the state on another file system than the root."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    state = memory / f"dirsync-{os.getpid()}-{tmp_path.name}"
    bench = Bench(tmp_path / "root", state)
    yield bench
    bench.close()
    for directory, _, files in os.walk(state, topdown=False):
        for name in files:
            (Path(directory) / name).unlink()
        Path(directory).rmdir()
    assert not _open_below(tmp_path, state)
