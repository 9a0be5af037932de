"""Disks that hang: what needs them waits, everything else goes on, and a server still ends when it is told to."""

import json
import time
from pathlib import Path

import pytest

from dirsync.limits import SILENCE_SECONDS
from tests.e2e.files import put
from tests.faults.disks import Disk, need_disks
from tests.faults.machines import Machines, unique

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

STOP_SECONDS_MAX = 2.0


@pytest.fixture(params=["a", "b"])
def role(request: pytest.FixtureRequest) -> str:
    """Whose disk hangs."""
    return str(request.param)


@pytest.fixture(params=["directory", "state"])
def where(request: pytest.FixtureRequest) -> str:
    """What lies on the disk that hangs."""
    return str(request.param)


@pytest.fixture
def disk(machines: Machines, tmp_path: Path, role: str, where: str) -> Disk:
    """The disk, with both servers at work."""
    need_disks("ext4")
    disk = Disk(tmp_path, "disk", "ext4")
    (machines.place_directory if where == "directory" else machines.place_state)(role, disk)
    machines.start("b", "a")
    put(machines.a / "file", unique("old"))
    put(machines.a / "other", unique("other"))
    machines.settle()
    return disk


def test_a_server_with_a_hung_disk_goes_on(machines: Machines, disk: Disk, role: str, where: str) -> None:
    there = machines.directory("a" if role == "b" else "b")
    connected = len(machines.server_a.events("disconnected"))
    disk.freeze()
    put(there / "file", unique("new", 200))
    began = time.monotonic()
    while time.monotonic() - began < SILENCE_SECONDS + 2:
        status = json.loads(machines.command("dirsync", "status", "--json").stdout)
        assert status["connected"]
        machines.command("lab3", "ls", is_ok=None)
    if role == "b":
        machines.lab3("lock", "other")
        machines.lab3("unlock", "other")
    assert len(machines.server_a.events("disconnected")) == connected
    disk.thaw()
    assert machines.settle()[b"file"][1] == unique("new", 200)
    assert unique("old") in machines.kept(role)


def test_a_server_with_a_hung_disk_ends_when_told(machines: Machines, disk: Disk, role: str) -> None:
    there = machines.directory("a" if role == "b" else "b")
    disk.freeze()
    put(there / "file", unique("new", 200))
    machines.command("dirsync", "wait", "--timeout", "1", is_ok=None)
    server = machines.running.pop(role)
    began = time.monotonic()
    server.process.terminate()
    # What hangs in the kernel cannot end before the disk does; the listener and the connections must.
    machines.server_a.wait_event("disconnected") if role == "b" else machines.server_b.wait_event("disconnected")
    seconds = time.monotonic() - began
    disk.thaw()
    assert server.wait_end() == 0
    assert seconds < STOP_SECONDS_MAX * 5
    machines.start_alone(role)
    assert machines.settle()[b"file"][1] == unique("new", 200)
