"""The tests of the disk level once more, on the simulated disk: what they need of a real one, it does as well."""

# ruff: noqa: F403 - the tests are collected here by their names
import random

import pytest

from tests.disk.bench import Bench
from tests.disk.test_apply import *
from tests.disk.test_kept import *
from tests.disk.test_root import *
from tests.disk.test_scan import *
from tests.disk.test_spool import *
from tests.disk.test_staging import *
from tests.sim.modules import SimPath
from tests.sim.patching import simulated

# Those that need a device or holes of a real disk, or look at it by other calls than the product's.
del test_a_full_disk_is_a_disk_error, test_a_copy_is_verified_and_stays_sparse  # noqa: F821
del test_ignored_leftovers_are_kept_when_their_directory_goes, test_what_a_crash_left_half_written_is_nobodys  # noqa: F821
del test_a_copy_has_its_name_durably_before_the_original_goes  # noqa: F821
del test_only_what_an_apply_changed_is_synced  # noqa: F821


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
