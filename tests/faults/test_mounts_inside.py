"""Other file systems mounted inside a directory: carried like everything else, and missed, not deleted, when gone."""

from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.faults.disks import Disk, need_disks
from tests.faults.machines import Machines, unique

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

GONE = "the file system that was mounted there is gone"


@pytest.fixture
def inner(machines: Machines) -> Disk:
    """A file system in directory_b, with files on it, in sync."""
    need_disks("tmpfs")
    disk = Disk(machines.b, "inner", "tmpfs", size=16)
    machines.disks["b"].append(disk)
    put(disk.path / "deep/file", unique("inner"))
    put(machines.b / "outer", unique("outer"))
    machines.start("b", "a")
    assert (machines.a / "inner/deep/file").read_bytes() == unique("inner")
    return disk


def test_what_cannot_be_swapped_across_the_border_waits(machines: Machines, inner: Disk) -> None:
    put(inner.path / "deep/file", unique("edited"))
    tree = machines.settle()
    assert tree[b"inner/deep/file"][1] == unique("edited")
    put(machines.a / "inner/added", unique("added"))
    machines.waits("inner/added", "it lies on another file system mounted inside the directory")
    machines.goes_on("b", "more")
    (machines.a / "inner/added").unlink()
    assert machines.settle() == tree | {b"more": machines.settle()[b"more"]}


@pytest.mark.parametrize("is_restarted", [False, True], ids=["while it runs", "while it is down"])
def test_one_that_is_gone_is_missed_and_not_deleted(machines: Machines, inner: Disk, is_restarted: bool) -> None:
    if is_restarted:
        machines.stop("b")
    else:
        machines.settle()
    twin = machines.home / "twin"
    twin.mkdir()
    with inner.moved(twin):
        if is_restarted:
            machines.start_alone("b")
        machines.waits("inner", GONE)
        put(machines.a / "inner/added", unique("added"))
        machines.waits("inner/added", GONE)
        machines.goes_on("b", "more")
        machines.goes_on("a", "more at a")
        assert (machines.a / "inner/deep/file").exists()
        assert list(inner.path.iterdir()) == []
    (machines.a / "inner/added").unlink()
    tree = machines.settle()
    assert tree[b"inner/deep/file"][1] == unique("inner")


def test_one_whose_directory_was_removed_is_not_expected_any_more(machines: Machines, inner: Disk) -> None:
    machines.settle()
    inner.vanish()
    machines.waits("inner", GONE)
    inner.path.rmdir()
    assert set(machines.settle()) == {b"outer"}
    assert Path(machines.a / "inner").exists() is False
