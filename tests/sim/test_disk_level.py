"""The tests of the disk level once more, on the simulated disk: what they need of a real one, it does as well."""

# ruff: noqa: F403 - the tests are collected here by their names
from tests.disk.test_apply import *
from tests.disk.test_kept import *
from tests.disk.test_root import *
from tests.disk.test_scan import *
from tests.disk.test_spool import *
from tests.disk.test_staging import *

# Those that need a device or holes of a real disk.
del test_a_full_disk_is_a_disk_error, test_a_copy_is_verified_and_stays_sparse  # noqa: F821
