"""The fixtures of tests/disk, on a simulated disk."""

import random

import pytest

from tests.disk.bench import Bench
from tests.sim.disk import SimDisk
from tests.sim.modules import SimPath
from tests.sim.patching import simulated

START_NS = 1_790_000_000_000_000_000


class Clock:
    """A clock that stands until somebody sets it forward."""

    def __init__(self):
        self.ns = START_NS

    def __call__(self):
        return self.ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def disk(clock):
    disk = SimDisk(clock)
    disk.make_directory(disk.root, b"etc")
    return disk


@pytest.fixture
def machine(disk):
    return disk.machine("a")


@pytest.fixture
def stand_ins(disk, machine):
    """Put `disk` in place of the real one, in the product and in the tests of its disk level."""
    with simulated(disk, random.Random(1), ("dirsync.", "tests.disk.")) as stand_ins:
        with machine.process("the tests").running():
            yield stand_ins
        assert not disk.descriptors


@pytest.fixture
def tmp_path(stand_ins):
    return SimPath("/sim/a")


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "root", tmp_path / "state")
    yield bench
    bench.close()


@pytest.fixture
def far_bench(tmp_path, machine):
    """Put the state on another file system than the root."""
    state = tmp_path / "far"
    state.mkdir()
    machine.mount(b"/sim/a/far")
    bench = Bench(tmp_path / "root", state / "state")
    yield bench
    bench.close()
