"""No room at Server B for what it captures of a locked file: its copy is then the only one, and nothing touches it."""

import os
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.locking import become, held, lock, queued, unlock
from tests.e2e.servers import wait_until
from tests.faults.disks import Disk
from tests.faults.machines import Machines

pytestmark = pytest.mark.faults

_SIZE = 500_000


def _lock_with_full_state_of_b(machines: Machines, home: Path) -> Path:
    disk = Disk(home, "state_b", "tmpfs", 8)
    machines.place_state("b", disk)
    put(machines.a / "f", "original", at=0)
    put(machines.a / "other", "o", at=0)
    machines.start("b", "a")
    lock(machines, "f")
    become(machines, "b", "f", "x" * 20)
    queued(machines, "f", 1)
    return disk.fill()


def test_no_room_to_capture(machines: Machines, tmp_path: Path) -> None:
    filler = _lock_with_full_state_of_b(machines, tmp_path)
    for number in (1, 2):
        become(machines, "b", "f", os.urandom(_SIZE + number))
        reason = str(machines.server_b.wait_event("error", path="f")["reason"]).lower()
        assert "space" in reason
    become(machines, "b", "other", "goes on")
    wait_until(lambda: (machines.a / "other").read_text() == "goes on", "the other file")
    assert (machines.a / "f").read_text() == "original"
    assert held(machines, "f") == [20]
    assert (machines.b / "f").stat().st_size == _SIZE + 2, "B's copy is the only one, and is left alone"
    filler.unlink()
    queued(machines, "f", 2, size=_SIZE + 2)
    assert unlock(machines, "f") == 2
    machines.settle()
    assert (machines.a / "f").stat().st_size == _SIZE + 2


def test_no_room_to_capture_when_it_is_unlocked(machines: Machines, tmp_path: Path) -> None:
    filler = _lock_with_full_state_of_b(machines, tmp_path)
    become(machines, "b", "f", os.urandom(_SIZE))
    machines.server_b.wait_event("error", path="f")
    assert unlock(machines, "f") == 1
    filler.unlink()
    machines.settle()
    assert (machines.a / "f").stat().st_size == _SIZE, "it follows as an ordinary change"


def test_no_room_while_a_is_away(machines: Machines, tmp_path: Path) -> None:
    filler = _lock_with_full_state_of_b(machines, tmp_path)
    machines.kill("a")
    for number in (1, 2):
        become(machines, "b", "f", os.urandom(_SIZE + number))
        machines.server_b.wait_event("error", path="f")
    machines.start_alone("a")
    machines.server_a.wait_event("connected")
    assert held(machines, "f") == [20]
    filler.unlink()
    queued(machines, "f", 1, size=_SIZE + 2)
    assert held(machines, "f") == [20, _SIZE + 2]
    assert unlock(machines, "f") == 2
    machines.settle()
