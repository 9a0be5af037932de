"""The staging directory in the root is known again after a power cut: else it would be synchronised like any other."""

import errno
import random

import pytest

from dirsync.disk.staging_area import _remembered
from tests.sim.disk import SimDisk
from tests.sim.modules import SimPath
from tests.sim.patching import simulated
from tests.sim.power import power_cut
from tests.sim.syscalls import SYNCING


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


def known_after_a_failed_sync(clock, seed, failing):
    """Return the name that a second start knows after the first one failed at a sync, and that known after a cut."""
    disk = SimDisk(clock)
    machine = disk.machine("a")
    syncs = []

    def fail_once(_process, call, _what):
        if call in SYNCING:
            syncs.append(call)
            if len(syncs) == failing:
                raise OSError(errno.EIO, "Input/output error")

    with simulated(disk, random.Random(seed)) as stand_ins:
        stand_ins.os.mkdir("/sim/a/state")
        machine.file_systems[0].sync()
        file = SimPath("/sim/a/state/staging_in_root")
        disk.before_call = fail_once
        with machine.process("server").running():
            with pytest.raises(OSError, match="Input/output"):
                _remembered(file)
            known = _remembered(file)
        power_cut(machine, random.Random(seed))
        return known, _remembered(file)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_name_whose_first_sync_failed_survives_a_power_cut(clock, failing):
    names = [known_after_a_failed_sync(clock, seed, failing) for seed in range(30)]
    assert all(known == after for known, after in names)
