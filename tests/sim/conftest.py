"""A simulated disk with one machine, and a clock that is set by hand."""

import pytest

from tests.sim.disk import SimDisk

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
