"""A root that is gone, another one, or hidden is no wish to delete: real servers, on either side and on both."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.servers import SECONDS_MAX, Pair, Tree

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def fill(pair: Pair) -> Tree:
    """Have both hold a few files."""
    for number in range(5):
        put(pair.a / "d" / f"f{number}", f"{number}", number)
    put(pair.b / "x", "x", 7)
    return pair.settle()


def deleted(pair: Pair) -> list[object]:
    """Return what was deleted anywhere, as far as the servers said so."""
    synced = pair.server_a.events("synced", change="deleted")
    return synced + [event for server in pair.running.values() for event in server.events("detected", change="deleted")]


def own_and_far(pair: Pair, role: str) -> tuple[Path, Path, str]:
    """Return the directory of a role, the other one, and the other role."""
    return (pair.a, pair.b, "b") if role == "a" else (pair.b, pair.a, "a")


def resumes(pair: Pair, role: str, times: int = 1) -> None:
    """Wait until a server has stopped for safety and gone on so many times."""
    pair.running[role].wait_event("paused", count=times)
    pair.running[role].wait_event("resumed", count=times)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_that_was_renamed_away_and_came_back(live: Pair, role: str) -> None:
    tree = fill(live)
    own, far, other = own_and_far(live, role)
    own.rename(live.home / "away")
    live.running[role].wait_event("paused")
    states = {server["role"]: server["state"] for server in live.status()["servers"]}
    assert states[role] == "paused"
    assert "paused" in live.command("dirsync", "wait", "--timeout", "0.1", is_ok=False).stderr
    put(live.home / "away" / "d" / "f0", "edited where it lies now", 100)
    put(far / "d" / "f1", "edited at the other side", 100)
    (far / "d" / "f2").unlink()
    live.running[other].wait_event("detected", path="d/f2", change="deleted")
    live.kill(other)
    live.start_alone(other)
    put(far / "new", "after a restart of the other server", 100)
    assert not live.running[role].events("resumed")
    (live.home / "away").rename(own)
    live.running[role].wait_event("resumed")
    settled = live.settle()
    assert settled.keys() == tree.keys() - {b"d/f2"} | {b"new"}
    assert (settled[b"d/f0"][1], settled[b"d/f1"][1]) == (b"edited where it lies now", b"edited at the other side")


@pytest.mark.parametrize("is_waited_for", [True, False])
@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_that_was_removed_and_made_again(live: Pair, role: str, is_waited_for: bool) -> None:
    tree = fill(live)
    own, _, _ = own_and_far(live, role)
    own.rename(live.home / "going")
    shutil.rmtree(live.home / "going")
    if is_waited_for:
        live.running[role].wait_event("paused")
    own.mkdir()
    resumes(live, role)
    assert live.settle() == tree
    assert not deleted(live)
    (own / "d" / "f0").unlink()
    assert live.settle().keys() == tree.keys() - {b"d/f0"}


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_that_is_another_directory(live: Pair, role: str) -> None:
    tree = fill(live)
    own, _, _ = own_and_far(live, role)
    put(live.home / "other" / "y", "of the other", 9)
    put(live.home / "other" / "x", "older than x", 1)
    own.rename(live.home / "away")
    (live.home / "other").rename(own)
    resumes(live, role)
    settled = live.settle()
    assert settled.keys() == tree.keys() | {b"y"}
    assert settled[b"x"] == tree[b"x"]
    assert not deleted(live)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_that_became_a_link(live: Pair, role: str) -> None:
    tree = fill(live)
    own, far, _ = own_and_far(live, role)
    own.rename(live.home / "away")
    own.symlink_to(live.home / "away")
    resumes(live, role)
    assert live.settle() == tree
    put(far / "new", "through the link", 1)
    live.settle()
    assert (live.home / "away" / "new").exists()
    elsewhere = live.home / "elsewhere"
    elsewhere.mkdir()
    own.unlink()
    own.symlink_to(elsewhere)
    resumes(live, role, times=2)
    assert live.settle().keys() == tree.keys() | {b"new"}
    assert not deleted(live)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_that_became_a_file(live: Pair, role: str) -> None:
    tree = fill(live)
    own, far, other = own_and_far(live, role)
    own.rename(live.home / "away")
    own.write_text("a file")
    live.running[role].wait_event("paused")
    put(far / "new", "meanwhile", 1)
    live.running[other].wait_event("detected", path="new")
    own.unlink()
    (live.home / "away").rename(own)
    resumes(live, role)
    assert live.settle().keys() == tree.keys() | {b"new"}
    assert not deleted(live)


def test_both_roots_at_once(live: Pair) -> None:
    tree = fill(live)
    for own in (live.a, live.b):
        own.rename(live.home / f"away_{own.name}")
    for role in "ab":
        live.running[role].wait_event("paused")
    put(live.home / "away_directory_a" / "at_a", "1", 1)
    put(live.home / "away_directory_b" / "at_b", "2", 2)
    live.b.mkdir()
    (live.home / "away_directory_a").rename(live.a)
    for role in "ab":
        resumes(live, role)
    assert live.settle().keys() == tree.keys() | {b"at_a"}
    live.b.rename(live.home / "away_again")
    (live.home / "away_directory_b").rename(live.b)
    resumes(live, "b", times=2)
    assert live.settle().keys() == tree.keys() | {b"at_a", b"at_b"}
    assert not deleted(live)


def test_both_roots_emptied_while_stopped_are_two_empty_directories(live: Pair) -> None:
    fill(live)
    live.stop()
    for own in (live.a, live.b):
        for path in own.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    live.start("b", "a")
    assert live.settle() == {}
    put(live.a / "new", "1", 1)
    assert live.settle().keys() == {b"new"}


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_emptied_while_stopped_and_the_other_edited(live: Pair, role: str) -> None:
    tree = fill(live)
    own, far, _ = own_and_far(live, role)
    live.stop()
    shutil.rmtree(own / "d")
    (own / "x").unlink()
    put(far / "d" / "f0", "edited", 100)
    (far / "d" / "f1").unlink()
    live.start("b", "a")
    settled = live.settle()
    assert settled.keys() == tree.keys() - {b"d/f1"}
    assert settled[b"d/f0"][1] == b"edited"


class Mounts:
    """A server's directory as a mount of its own, in a mount namespace that ends with the server."""

    def __init__(self, pair: Pair, role: str) -> None:
        self._pair = pair
        self._role = role
        self.path, self.far, _ = own_and_far(pair, role)
        self.disk = pair.home / "disk"
        self.disk.mkdir()

    def start(self) -> None:
        """Start both servers, this one in its namespace."""
        prefix = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]
        prefix += [str(self.disk), str(self.path)]
        tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
        if tried.returncode:
            pytest.skip("mounting needs root")
        self._pair.prefix = prefix
        self._pair.start_alone(self._role)
        self._pair.prefix = []
        self._pair.start_alone("b" if self._role == "a" else "a")

    def run(self, *words: str | Path) -> None:
        """Run a command where the server lives."""
        pid = str(self._pair.running[self._role].process.pid)
        subprocess.run(["nsenter", "-t", pid, "-m", *words], check=True, timeout=SECONDS_MAX)


def _unmounted(mounts: Mounts) -> Callable[[], None]:
    mounts.run("umount", "-l", mounts.path)
    return lambda: mounts.run("mount", "--bind", mounts.disk, mounts.path)


def _mounted_over(mounts: Mounts) -> Callable[[], None]:
    mounts.run("mount", "-t", "tmpfs", "over", mounts.path)
    return lambda: mounts.run("umount", "-l", mounts.path)


@pytest.fixture(params=["a", "b"])
def mounts(request: pytest.FixtureRequest, pair: Pair) -> Mounts:
    """Two servers, one with its directory on a mount."""
    made = Mounts(pair, request.param)
    made.start()
    return made


@pytest.mark.parametrize("hide", [_unmounted, _mounted_over])
def test_a_root_that_is_unmounted_or_mounted_over(
    pair: Pair, mounts: Mounts, hide: Callable[[Mounts], Callable[[], None]], request: pytest.FixtureRequest
) -> None:
    role = request.node.callspec.params["mounts"]
    other = "b" if role == "a" else "a"
    pair.running[other].wait_event("connected")
    put(mounts.far / "d" / "f", "1", 1)
    put(mounts.far / "g", "2", 2)
    pair.server_a.wait_event("in_sync", files=2)
    assert (mounts.disk / "d" / "f").read_text() == "1"
    bring_back = hide(mounts)
    pair.running[role].wait_event("paused")
    put(mounts.far / "g", "edited meanwhile", 3)
    put(mounts.disk / "d" / "f", "edited on the disk", 3)
    pair.running[other].wait_event("detected", path="g", change="modified")
    bring_back()
    pair.running[role].wait_event("resumed")
    pair.command("dirsync", "wait", "--timeout", str(SECONDS_MAX))
    for top in (mounts.disk, mounts.far):
        assert {p.relative_to(top).as_posix(): p.read_text() for p in top.rglob("*") if p.is_file()} == {
            "d/f": "edited on the disk",
            "g": "edited meanwhile",
        }
    assert not deleted(pair)


def copy_of_state(pair: Pair, role: str) -> Path:
    """Copy the state of a stopped server, as a backup does."""
    copy = pair.home / f"copy_{role}"
    shutil.copytree(pair.state / role, copy)
    return copy


def put_back(pair: Pair, role: str, copy: Path) -> None:
    """Restore the state of a stopped server from a copy."""
    shutil.rmtree(pair.state / role)
    shutil.copytree(copy, pair.state / role)


@pytest.mark.parametrize("roles", ["a", "b", "ab"])
def test_a_state_restored_from_an_older_copy_deletes_nothing(live: Pair, roles: str) -> None:
    tree = fill(live)
    live.stop()
    copies = {role: copy_of_state(live, role) for role in roles}
    live.start("b", "a")
    (live.a / "d" / "f0").unlink()
    put(live.b / "later", "made after the copy", 50)
    put(live.b / "d" / "f1", "edited after the copy", 50)
    settled = live.settle()
    assert settled.keys() == tree.keys() - {b"d/f0"} | {b"later"}
    live.stop()
    for role, copy in copies.items():
        put_back(live, role, copy)
    if roles != "ab":
        # What stands in the older archive stands again at one side: no wish to delete it.
        put(live.a / "d" / "f0", "0", 0)
    live.start("b", "a")
    after = live.settle()
    assert after.keys() == settled.keys() | ({b"d/f0"} if roles != "ab" else set())
    assert after[b"d/f1"] == settled[b"d/f1"]
    assert not live.server_a.events("synced", change="deleted")
    reasons = [str(event["reason"]) for event in live.server_a.events("notice")]
    assert any("older than" in reason for reason in reasons) is (roles == "a")
    (live.a / "later").unlink()
    assert b"later" not in live.settle(), "it is an ordinary pair again"
    live.stop()
    live.start("b", "a")
    assert not [event for event in live.server_a.events("notice") if "older than" in str(event["reason"])]


@pytest.mark.parametrize("role", ["a", "b"])
def test_the_state_of_another_pair(live: Pair, role: str, tmp_path: Path) -> None:
    tree = fill(live)
    live.stop()
    (tmp_path / "other").mkdir()
    other = Pair(tmp_path / "other")
    put(other.a / "d" / "f0", "0", 0)
    put(other.a / "x", "another x", 1)
    put(other.a / "y", "of the other pair", 1)
    try:
        other.start("b", "a")
        other.settle()
        other.stop()
    finally:
        other.close()
    put_back(live, role, other.state / role)
    live.start("b", "a")
    assert live.settle() == tree
    assert not deleted(live)
    assert live.running[role].events("paused")
