"""The staging directory in the root is known again after a power cut: else it would be synchronised like any other."""

import random

from dirsync.disk.staging_area import _remembered
from tests.sim.disk import SimDisk
from tests.sim.modules import SimPath
from tests.sim.patching import simulated
from tests.sim.power import power_cut


def names_around_a_cut(clock, seed):
    """Return the name that was chosen before a power cut, and the one that is known after it."""
    disk = SimDisk(clock)
    machine = disk.machine("a")
    with simulated(disk, random.Random(seed)) as stand_ins:
        stand_ins.os.mkdir("/sim/a/state")
        machine.file_systems[0].sync()
        file = SimPath("/sim/a/state/staging_in_root")
        before = _remembered(file)
        power_cut(machine, random.Random(seed))
        return before, _remembered(file)


def test_the_name_of_the_staging_directory_survives_a_power_cut(clock):
    names = [names_around_a_cut(clock, seed) for seed in range(30)]
    assert all(before == after for before, after in names)
