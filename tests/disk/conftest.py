"""A real root, staging and kept area for each test, and a check that no descriptor is leaked."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dirsync.disk import guard, syscalls
from tests.disk.bench import Bench
from tests.disk.intruders import Stage


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


@pytest.fixture
def stages(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Stage]]:
    """Make a fresh stage on the same bench, as often as wanted; the parameter says what is missing there."""
    lacking = getattr(request, "param", frozenset())
    bench = request.getfixturevalue("far_bench" if "same file system" in lacking else "quick_bench")
    if "renameat2" in lacking:
        monkeypatch.setattr(syscalls, "_renameat2", lambda *_: False)
    if "openat2" in lacking:
        monkeypatch.setattr(syscalls, "_has_openat2", lambda: False)
    if "leases" in lacking:
        monkeypatch.setattr(guard, "take_read_lease", lambda _: None)
        monkeypatch.setattr(syscalls, "_libc_alone", lambda: None)
    monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if everything had been quiet for long
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (outside / "f").write_bytes(b"f outside")
    before = {path: path.read_bytes() for path in outside.iterdir()}

    def fresh() -> Stage:
        for directory in (bench.directory, bench.state / "staging", bench.state / "versions"):
            _clear(directory)
        stage = Stage(bench, outside)
        stage.directory.mkdir()
        return stage

    yield fresh
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
