"""Disks that answer with errors: one file, one call, or everything. Only what is broken waits; nothing is trusted."""

import errno
import os
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.locking import become, held, lock, queued, unlock
from tests.e2e.servers import wait_until
from tests.faults.disks import Disk
from tests.faults.machines import Machines, unique
from tests.faults.shim import Rule

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BROKEN = "input/output error"


@pytest.fixture(params=["a", "b"])
def role(request: pytest.FixtureRequest) -> str:
    """Whose disk is broken."""
    return str(request.param)


@pytest.fixture
def rule(machines: Machines, role: str, library: Path, tmp_path: Path) -> Rule:
    """The rule of that server, which runs with some files that are in sync."""
    machines.rules[role] = rule = Rule(library, tmp_path / "rule")
    machines.start("b", "a")
    for name in ("good", "bad", "tree/inside"):
        put(machines.a / name, unique(name, 5000))
    machines.settle()
    return rule


def test_one_file_that_cannot_be_read(machines: Machines, role: str, rule: Rule) -> None:
    here, other = (machines.a, machines.b) if role == "a" else (machines.b, machines.a)
    rule.fail("read", here / "bad")
    put(here / "bad", unique("new bad", 6000))
    machines.waits("bad", BROKEN)
    machines.goes_on("b" if role == "a" else "a", "more")
    machines.goes_on(role, "more here")
    assert (other / "bad").read_bytes() == unique("bad", 5000)
    rule.disarm()
    assert machines.settle()[b"bad"][1] == unique("new bad", 6000)


def test_a_directory_that_cannot_be_listed_to_its_end(machines: Machines, role: str, rule: Rule) -> None:
    here, other = (machines.a, machines.b) if role == "a" else (machines.b, machines.a)
    for number in range(20):
        put(here / f"tree/{number}", unique(number))
    machines.settle()
    for failing in (f"{here}/tree", here):
        rule.fail("readdir", failing, first=5)
        machines.command("dirsync", "wait", "--timeout", "1", is_ok=None)
        assert len(list((other / "tree").iterdir())) == 21
        assert (other / "good").exists()
        rule.disarm()
        assert len(machines.settle()) == 24


@pytest.mark.parametrize("kind", ["fsync", "close", "rename", "mode", "times", "write", "unlink", "open"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_call_that_fails_a_few_times(machines: Machines, role: str, rule: Rule, kind: str, error: int) -> None:
    here, other = (machines.a, machines.b) if role == "a" else (machines.b, machines.a)
    rule.fail(kind, here, machines.state / role, error=error, times=7)
    put(other / "bad", unique("new bad", 6000))
    put(other / "large", unique("large", 900_000))
    put(other / "new/file", unique("new file"))
    (other / "good").unlink()
    tree = machines.settle()
    assert tree[b"bad"][1] == unique("new bad", 6000)
    assert tree[b"large"][1] == unique("large", 900_000)
    assert b"good" not in tree
    kept = machines.kept(role)
    assert kept.count(unique("bad", 5000)) >= 1
    assert kept.count(unique("good", 5000)) >= 1
    assert set(kept) <= {unique("bad", 5000), unique("good", 5000)}
    assert machines.is_sound(role)


def test_short_writes(machines: Machines, role: str, rule: Rule) -> None:
    other = machines.b if role == "a" else machines.a
    rule.shorten(machines.state / role)
    put(other / "bad", unique("new bad", 60_001))
    put(other / "large", os.urandom(2_000_003))
    machines.settle()
    assert rule.hits


def test_content_whose_sync_failed_is_not_trusted(machines: Machines, role: str, rule: Rule) -> None:
    other = machines.b if role == "a" else machines.a
    rule.fail("fsync syncfs", machines.state / role / "staging", times=1)
    put(other / "large", unique("large", 900_000))
    machines.settle()
    sent = [event["sent"] for event in machines.server_a.events("synced", path="large")]
    assert rule.hits == 1
    assert sent[-1] >= 2 * 900_000, "it was not fetched again"


@pytest.mark.parametrize("role", ["a"], indirect=True)
def test_a_broken_spool(machines: Machines, rule: Rule) -> None:
    lock(machines, "bad")
    rule.fail("write fsync", machines.state / "a/spool")
    become(machines, "b", "bad", unique("held", 300))
    machines.server_a.wait_event("error", path="bad")
    assert held(machines, "bad") == []
    become(machines, "b", "good", unique("new good"))
    machines.server_a.wait_event("synced", path="good", change="modified")
    rule.disarm()
    queued(machines, "bad", 1)
    rule.fail("read", machines.state / "a/spool")
    assert BROKEN in machines.command("lab3", "unlock", "bad", is_ok=False).stderr
    assert held(machines, "bad") == [300]
    rule.disarm()
    assert unlock(machines, "bad") == 1
    assert machines.settle()[b"bad"][1] == unique("held", 300)


def test_a_database_that_cannot_be_written(machines: Machines, role: str, rule: Rule) -> None:
    here, other = (machines.a, machines.b) if role == "a" else (machines.b, machines.a)
    rule.fail("write fsync truncate", machines.state / role / "state.db")
    put(other / "bad", unique("new bad", 6000))
    put(here / "good", unique("new good", 6000))
    machines.running[role].wait_event("error")
    locked = machines.command("lab3", "lock", "good", is_ok=None)
    assert (locked.returncode == 0) is (role == "b"), locked
    machines.server_a.wait_event("synced", path="good", change="modified")
    rule.disarm()
    machines.command("lab3", "unlock", "good", is_ok=None)
    machines.settle()
    assert machines.is_sound(role)
    wait_until(lambda: unique("bad", 5000) in machines.kept(role), "the row of what was kept meanwhile")


def _is_answered(machines: Machines, where: str) -> bool:
    """Return whether Server B has missed its disk, or does without.

    The directory it misses in any case; some kernels go on answering from memory what changes nothing. Without a disk
    for its state it can still take in a file that replaces nothing, because that is staged in the directory then.
    """
    is_missed = machines.server_b.events("paused") or machines.server_a.events("error", path="new")
    return bool(is_missed) or (where == "state" and bool(machines.server_a.events("synced", path="new")))


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("where", ["directory", "state"])
def test_a_disk_that_is_gone_is_no_deletion(machines: Machines, tmp_path: Path, kind: str, where: str) -> None:
    disk = Disk(tmp_path, "disk", kind)
    (machines.place_directory if where == "directory" else machines.place_state)("b", disk)
    machines.start("b", "a")
    for number in range(10):
        put(machines.a / f"file{number}", unique(number))
    machines.settle()
    machines.sync("b")
    disk.cut(is_log_kept=False)
    put(machines.a / "new", unique("new"))
    wait_until(lambda: _is_answered(machines, where), "the disk to be missed")
    machines.command("dirsync", "wait", "--timeout", "1", is_ok=None)
    assert machines.is_alive("b")
    assert len(list(machines.a.iterdir())) == 11
    machines.kill("b")
    disk.reboot()
    machines.start("b")
    assert len(machines.settle()) == 11


@pytest.mark.parametrize("how", ["remount", "error"])
def test_a_disk_that_turns_read_only(machines: Machines, tmp_path: Path, role: str, how: str) -> None:
    disk = Disk(tmp_path, "disk", "ext4", options="errors=remount-ro")
    machines.place_directory(role, disk)
    machines.start("b", "a")
    here, other = (machines.a, machines.b) if role == "a" else (machines.b, machines.a)
    put(here / "edited", unique("old"))
    machines.settle()
    machines.sync(role)
    if how == "remount":
        disk.remount("ro")
    else:
        disk.break_it()
    put(other / "edited", unique("new", 200))
    put(other / "large", unique("large", 500_000))
    machines.waits("edited", "read-only")
    machines.waits("large", "read-only")
    if how == "remount":
        disk.remount("rw")
    else:
        machines.stop(role)
        disk.repair()
        machines.start_alone(role)
    tree = machines.settle()
    assert tree[b"edited"][1] == unique("new", 200)
    assert unique("old") in machines.kept(role)
