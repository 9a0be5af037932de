"""Disks without room: what does not fit waits with its reason, everything else goes on, and it heals by itself."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.locking import become, held, lock, queued, unlock
from tests.faults.disks import Disk
from tests.faults.machines import Machines, unique
from tests.faults.shim import Rule

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

NO_ROOM = "no space left on the disk"


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("size", [12_000_000, 60_000], ids=["transferred", "inline"])
def test_a_file_without_room_waits(machines: Machines, tmp_path: Path, role: str, kind: str, size: int) -> None:
    disk = Disk(tmp_path, "small", kind, size=24)
    machines.place_directory(role, disk)
    machines.start("b", "a")
    other = machines.directory("a" if role == "b" else "b")
    put(other / "edited", unique("old", 50_000))
    machines.settle()
    filler = disk.fill(but=300_000 if size > 100_000 else 20_000)
    machines.command("dirsync", "wait", "--timeout", "1", is_ok=None)
    put(other / "large", os.urandom(size))
    put(other / "edited", unique("new", 60_000 if size < 100_000 else 2_000_000))
    machines.waits("large", NO_ROOM)
    machines.waits("edited", NO_ROOM)
    machines.server_a.wait_event("error", path="large", reason=NO_ROOM)
    machines.goes_on(role, "small")
    assert (machines.directory(role) / "edited").read_bytes() == unique("old", 50_000)
    filler.unlink()
    tree = machines.settle()
    assert len(tree[b"large"][1]) == size
    assert len((other / "large").read_bytes()) == size


def test_no_inodes_left(machines: Machines, tmp_path: Path) -> None:
    disk = Disk(tmp_path, "small", "tmpfs", size=24, options="nr_inodes=60")
    machines.place_directory("b", disk)
    machines.start("b", "a")
    for number in range(100):
        put(machines.a / f"directory{number % 7}/file{number}", unique(number))
    machines.server_a.wait_event("error", reason=NO_ROOM)
    assert NO_ROOM in {one["reason"] for one in machines.status()["pending"]}
    disk.remount("nr_inodes=1000")
    assert len(machines.settle()) == 107


def test_no_room_for_a_held_update(machines: Machines, tmp_path: Path) -> None:
    disk = Disk(tmp_path, "small", "tmpfs", size=16)
    machines.place_state("a", disk)
    machines.start("b", "a")
    put(machines.a / "file", unique("old"))
    put(machines.a / "other", unique("old other"))
    machines.settle()
    lock(machines, "file")
    become(machines, "b", "file", unique("first"))
    queued(machines, "file", 1)
    filler = disk.fill(but=200_000)
    become(machines, "b", "file", unique("large", 4_000_000))
    machines.server_a.wait_event("error", path="file")
    assert "no space" in str(machines.server_a.events("error", path="file")[0]["reason"]).lower()
    assert held(machines, "file") == [100]
    assert not machines.server_a.events("queued", path="file")[1:]
    assert "no space" in str(machines.status()["last_error"]).lower()
    become(machines, "b", "other", unique("new other"))
    machines.server_a.wait_event("synced", path="other", change="modified")
    filler.unlink()
    queued(machines, "file", 2)
    assert held(machines, "file") == [100, 4_000_000]
    assert unlock(machines, "file") == 2
    assert machines.settle()[b"file"][1] == unique("large", 4_000_000)


@pytest.mark.parametrize("role", ["a", "b"])
def test_no_room_for_the_state(machines: Machines, tmp_path: Path, role: str) -> None:
    disk = Disk(tmp_path, "small", "tmpfs", size=16)
    machines.place_state(role, disk)
    machines.start("b", "a")
    other = machines.directory("a" if role == "b" else "b")
    here = machines.directory(role)
    put(other / "edited", unique("old", 1_000_000))
    put(here / "own", unique("own old"))
    machines.settle()
    filler = disk.fill()
    put(other / "edited", unique("new", 1_200_000))
    put(here / "own", unique("own new"))
    machines.server_a.wait_event("error")
    machines.server_a.wait_event("synced", path="own", count=2)
    assert machines.command("lab3", "ls").returncode == 0
    assert machines.command("lab3", "lock", "own", is_ok=None).returncode in {0, 1}
    machines.command("lab3", "unlock", "own", is_ok=None)
    filler.unlink()
    machines.settle()
    assert machines.is_sound(role)
    assert unique("old", 1_000_000) in machines.kept(role)


def test_directory_and_state_on_the_same_full_disk(machines: Machines, tmp_path: Path) -> None:
    disk = Disk(tmp_path, "small", "ext4", size=24)
    machines.place_directory("b", disk)
    machines.place_state("b", disk)
    machines.start("b", "a")
    put(machines.a / "edited", unique("old", 100_000))
    machines.settle()
    filler = disk.fill()
    put(machines.a / "edited", unique("new", 300_000))
    put(machines.a / "added", unique("added", 300_000))
    machines.waits("edited", NO_ROOM, "is full")
    machines.waits("added", NO_ROOM, "is full")
    (machines.b / "made here").touch()
    filler.unlink()
    tree = machines.settle()
    assert tree[b"edited"][1] == unique("new", 300_000)
    assert unique("old", 100_000) in machines.kept("b")


def test_a_server_restarts_on_a_full_disk(machines: Machines, tmp_path: Path) -> None:
    disk = Disk(tmp_path, "small", "ext4", size=24)
    machines.place_directory("b", disk)
    machines.place_state("b", disk)
    machines.start("b", "a")
    put(machines.a / "edited", unique("old", 100_000))
    machines.settle()
    filler = disk.fill()
    put(machines.a / "edited", unique("new", 300_000))
    machines.waits("edited", NO_ROOM, "is full")
    machines.kill("b")
    machines.launch("b")
    server = machines.server_b
    if server.wait_end() if server.process.poll() is not None else False:
        assert len(server.complaints) == 1
    filler.unlink()
    if not machines.is_alive("b"):
        machines.running.pop("b")
        machines.start_alone("b")
    tree = machines.settle()
    assert tree[b"edited"][1] == unique("new", 300_000)


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EFBIG], ids=["quota", "too big"])
def test_a_file_that_may_not_be_written(machines: Machines, tmp_path: Path, library: Path, error: int) -> None:
    machines.rules["b"] = rule = Rule(library, tmp_path / "rule")
    machines.start("b", "a")
    rule.fail("write", machines.state / "b/staging", error=error)
    put(machines.a / "large", os.urandom(1_000_000))
    reason = {errno.EDQUOT: "the disk quota is exceeded", errno.EFBIG: "the file is larger than"}[error]
    machines.waits("large", reason)
    rule.disarm()
    machines.settle()


def test_a_limit_on_the_size_of_files(machines: Machines) -> None:
    machines.start("b", "a")
    server = machines.server_b.process.pid
    subprocess.run(["prlimit", "--pid", str(server), "--fsize=4000000:"], check=True)
    put(machines.a / "large", os.urandom(9_000_000))
    machines.waits("large", "the file is larger than")
    machines.goes_on("b", "small")
    subprocess.run(["prlimit", "--pid", str(server), "--fsize=unlimited:"], check=True)
    machines.settle()
