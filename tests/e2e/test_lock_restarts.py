"""Locks across restarts: whatever dies, and when, no lock and no update is lost, doubled or out of order."""

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.locking import applied_sizes, become, drained, edits, held, kept_sizes, lock, queued, unlock
from tests.e2e.servers import Pair, wait_until


@pytest.fixture
def shared(pair: Pair) -> Pair:
    """Two files on both sides, in sync."""
    put(pair.a / "f", "original", at=0)
    put(pair.a / "other", "o", at=0)
    pair.start("b", "a")
    return pair


def _start(pair: Pair, *roles: str) -> None:
    """Start servers and wait until they are in sync, held updates aside."""
    pair.start_alone(*roles)
    pair.command("dirsync", "wait")


def _end(pair: Pair, is_killed: bool, *roles: str) -> None:
    (pair.kill if is_killed else pair.stop)(*roles)


def _finish(pair: Pair, sizes: list[int]) -> None:
    """Unlock, and check that each update was applied once, in order, across however many runs of A."""
    pair.lab3("unlock", "f", is_ok=None)
    pair.settle()
    _assert_each_once(pair, sizes)


def _assert_each_once(pair: Pair, sizes: list[int]) -> None:
    """Each update replaced the one before: that is what was kept at A, and the last one stands there."""
    assert kept_sizes(pair, "f") == [8, *sizes[:-1]]
    assert (pair.a / "f").read_text() == "x" * sizes[-1]


def test_a_lock_is_there_after_a_kill_right_after_its_answer(shared: Pair) -> None:
    lock(shared, "f")
    shared.kill("a")
    become(shared, "b", "f", "x" * 20)
    _start(shared, "a")
    queued(shared, "f", 1)
    assert (shared.a / "f").read_text() == "original"
    assert shared.lab3("lock", "f") == "f is locked already\n"
    _finish(shared, [20])


def test_queues_survive_and_what_b_did_meanwhile_is_added(shared: Pair) -> None:
    lock(shared, "f")
    sizes: list[int] = []
    for is_killed in (False, True):
        for roles in (("a",), ("b",), ("b", "a")):
            sizes += edits(shared, "f", 3, since=len(sizes))
            _end(shared, is_killed, *roles)
            sizes.append(20 + len(sizes))
            become(shared, "b", "f", "x" * sizes[-1])
            _start(shared, *roles)
            shared.server_a.wait_event("queued", path="f", size=sizes[-1])
            assert held(shared, "f") == sizes, (roles, is_killed)
            assert (shared.a / "f").read_text() == "original"
    _finish(shared, sizes)


def test_b_keeps_every_state_while_a_is_away(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 2)
    shared.kill("a")
    before = len(shared.server_b.events("detected", path="f"))
    for number, size in enumerate(range(40, 45), 1):
        become(shared, "b", "f", "x" * size)
        shared.server_b.wait_event("detected", before + number, path="f")
    wait_until(lambda: len(list((shared.state / "b" / "captures").iterdir())) >= 5, "five captured states")
    shared.kill("b")
    _start(shared, "b", "a")
    queued(shared, "f", 5)
    sizes += range(40, 45)
    assert held(shared, "f") == sizes
    _finish(shared, sizes)
    assert not list((shared.state / "b" / "captures").iterdir()), "captures go when they are held at A"


def test_after_b_itself_was_down_the_state_found_is_one_update(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 2)
    shared.stop("b")
    for size in (40, 41, 42):
        become(shared, "b", "f", "x" * size)
    _start(shared, "b")
    queued(shared, "f", 3, size=42)
    _finish(shared, [*sizes, 42])


def test_a_restart_alone_adds_nothing(shared: Pair) -> None:
    lock(shared, "f", "other")
    sizes = edits(shared, "f", 3)
    for is_killed, roles in ((True, ("a",)), (False, ("b",)), (True, ("b", "a"))):
        _end(shared, is_killed, *roles)
        _start(shared, *roles)
    assert held(shared, "f") == sizes
    assert held(shared, "other") == []
    put(shared.a / "other", "passes")
    assert shared.command("dirsync", "wait").returncode == 0
    assert (shared.b / "other").read_text() == "passes"
    _finish(shared, sizes)


def test_a_s_edit_while_a_was_down_joins_the_queue(shared: Pair) -> None:
    lock(shared, "f")
    edits(shared, "f", 2)
    shared.kill("a")
    become(shared, "a", "f", "by A's user")
    _start(shared, "a")
    queued(shared, "f", 1, size=11)
    assert unlock(shared, "f") == 3
    assert applied_sizes(shared) == [20, 21, 11]
    assert shared.settle()[b"f"][1] == b"by A's user"


def test_of_what_both_edited_while_apart_the_older_goes_first(pair: Pair) -> None:
    names = {"a older": (100, 200), "b older": (200, 100), "both alike": (100, 100)}
    for name in names:
        put(pair.a / name, "original", at=0)
    pair.start("b", "a")
    lock(pair, *names)
    pair.stop()
    for name, (at_a, at_b) in names.items():
        become(pair, "a", name, "from a", at=at_a)
        become(pair, "b", name, "from b", at=at_b)
    _start(pair, "b", "a")
    pair.server_a.wait_event("queued", 6)
    assert [unlock(pair, name) for name in names] == [2, 2, 2]
    tree = pair.settle()
    assert [tree[name.encode()][1] for name in names] == [b"from b", b"from a", b"from b"]


def test_a_s_edit_while_b_was_away_passes_when_b_is_back(shared: Pair) -> None:
    lock(shared, "f")
    shared.stop("b")
    become(shared, "a", "f", "first")
    become(shared, "a", "f", "from a")
    shared.server_a.wait_event("detected", path="f")
    _start(shared, "b")
    assert shared.settle()[b"f"][1] == b"from a"
    assert held(shared, "f") == []
    shared.kill("a")
    _start(shared, "a")
    assert held(shared, "f") == []


def test_kills_in_the_middle_of_a_drain(shared: Pair) -> None:
    """Again and again, at another point each time; what was applied stays applied, and the drain goes on by itself."""
    choose = random.Random(7)
    lock(shared, "f")
    sizes = edits(shared, "f", 60, is_large=True)
    unlocking = shared.begin("lab3", "unlock", "f")
    shared.server_a.wait_event("applied", 3)
    shared.kill("a")
    assert drained(unlocking)[0] == 1
    seen = [_size(shared.a / "f")]
    for _ in range(6):
        shared.start_alone("a")
        target = choose.choice(sizes[sizes.index(seen[-1]) :])
        _wait_size(shared.a / "f", target)
        shared.kill("a")
        seen.append(_size(shared.a / "f"))
    assert all(one <= two for one, two in pairwise(seen)), seen
    _start(shared, "a")
    assert shared.lab3("locks") == ""
    _assert_each_once(shared, sizes)
    become(shared, "b", "f", "afterwards")
    assert shared.settle()[b"f"][1] == b"afterwards"


def test_kills_while_updates_arrive(shared: Pair) -> None:
    """B goes on; A is killed again and again while it takes the updates in."""
    lock(shared, "f")
    sizes: list[int] = []
    for run in range(4):
        start = len(shared.server_b.events("detected", path="f"))
        for number in range(8):
            sizes.append(20 + len(sizes))
            become(shared, "b", "f", "x" * sizes[-1])
            shared.server_b.wait_event("detected", start + number + 1, path="f")
            if number == 2 * run:
                shared.kill("a")
        shared.start_alone("a")
        shared.server_a.wait_event("in_sync")
    wait_until(lambda: held(shared, "f") == sizes, "all updates, each once")
    _finish(shared, sizes)


def test_kills_of_b_while_updates_arrive(shared: Pair) -> None:
    lock(shared, "f")
    content = [os.urandom(3_000_000 + number) for number in range(4)]
    for number, one in enumerate(content):
        before = len(shared.server_b.events("detected", path="f"))
        become(shared, "b", "f", one)
        shared.server_b.wait_event("detected", before + 1, path="f")
        if number % 2:
            shared.kill("b")
            shared.start_alone("b")
            shared.server_a.wait_event("connected", 1 + (number + 1) // 2)
            shared.server_b.wait_event("connected")
    wait_until(lambda: held(shared, "f") == [len(one) for one in content], "all updates, each once")
    assert unlock(shared, "f") == 4
    assert shared.settle()[b"f"][1] == content[-1]


def test_the_state_of_b_is_lost_while_a_name_is_locked(shared: Pair) -> None:
    """Another replica in B's place lacks nothing on purpose: no update is made of that."""
    lock(shared, "f")
    shared.stop("b")
    os.remove(shared.b / "f")
    os.remove(shared.b / "other")
    for path in (shared.state / "b").glob("state.db*"):
        path.unlink()
    _start(shared, "b")
    assert shared.settle()[b"other"][1] == b"o"
    assert (shared.b / "f").read_text() == "original"
    assert held(shared, "f") == []


def _size(path: Path) -> int:
    return path.stat().st_size


def _wait_size(path: Path, size: int) -> None:
    wait_until(lambda: _size(path) >= size, f"the update of {size} bytes")
