"""Locked names and servers that lose each other: where what happened meanwhile has its place, and what has none."""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.errors import StateError
from tests.coordinator.test_holds import lock, locked, queued, unlock
from tests.support.coordinated import World
from tests.support.near_pair import NearPair
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

A, B = Role.A, Role.B
F = RelPath(b"f")
X = at("x")


def standing(content, seconds):
    return content, seconds * 10**9, 0o644


@pytest.fixture
async def pair(tmp_path):
    """Two servers in sync on one file that is locked; a second file keeps the directories from being empty."""
    made = NearPair(tmp_path)
    made.become(A, F, standing(b"original", 1))
    made.become(A, RelPath(b"stays"), standing(b"s", 1))
    await made.start(*Role)
    await made.join()
    await made.settle()
    await made.lock(F)
    yield made
    await made.end(*list(made.running))


def held(pair):
    return [(role, found and found[0]) for role, found in pair.rows(F)]


@pytest.mark.parametrize("roles", [(A, B), (A,)], ids=["both", "a"])
@pytest.mark.parametrize(
    ("at_a", "at_b", "order"), [(100, 200, (A, B)), (200, 100, (B, A)), (100, 100, (A, B))], ids=["a", "b", "tie"]
)
async def test_of_what_both_edited_while_apart_the_older_goes_first_behind_what_waits(pair, roles, at_a, at_b, order):
    pair.become(B, F, standing(b"waits", 50))
    await pair.settle()
    await pair.end(*roles)
    pair.become(A, F, standing(b"from a", at_a))
    pair.become(B, F, standing(b"from b", at_b))
    await pair.settle()
    await pair.start(*roles)
    await pair.join()
    await pair.settle()
    contents = {A: b"from a", B: b"from b"}
    assert held(pair) == [(B, b"waits"), *((role, contents[role]) for role in order)]
    assert await pair.unlock(F) == 3
    await pair.settle()
    assert pair.standing(A, F)[0] == pair.standing(B, F)[0] == contents[order[-1]]


async def test_what_b_captured_and_what_a_became_meanwhile_are_merged_by_their_times(pair):
    pair.become(B, F, standing(b"waits", 50))
    await pair.settle()
    await pair.end(A)
    for seconds in (100, 200, 400):
        pair.become(B, F, standing(b"b %d" % seconds, seconds))
        await pair.settle()
    pair.become(A, F, standing(b"a 300", 300))
    await pair.start(A)
    await pair.settle()
    assert held(pair) == [(B, b"waits")], "its place is known when B was compared"
    await pair.join()
    await pair.settle()
    assert held(pair) == [(B, b"waits"), (B, b"b 100"), (B, b"b 200"), (A, b"a 300"), (B, b"b 400")]


async def test_an_unlock_before_b_is_back_applies_what_a_became_last(pair):
    pair.become(B, F, standing(b"waits", 50))
    await pair.settle()
    await pair.end(A)
    pair.become(A, F, standing(b"a's own", 20))
    await pair.start(A)
    await pair.settle()
    assert await pair.unlock(F) == 2
    assert pair.standing(A, F)[0] == b"a's own"


async def test_what_was_captured_for_a_lock_that_has_ended_is_not_taken_for_the_present(pair):
    """B hears of the unlock late: by then it was given A's later edit, which its old captures must not undo."""
    await pair.part()
    for seconds in (100, 101, 102):
        pair.become(B, F, standing(b"b %d" % seconds, seconds))
        await pair.settle()
    assert await pair.unlock(F) == 0
    pair.become(A, F, standing(b"the newest", 500))
    await pair.settle()
    await pair.join()
    await pair.settle()
    assert pair.standing(A, F)[0] == pair.standing(B, F)[0] == b"the newest"
    assert not pair.said(EventName.ERROR)
    assert len(await pair.kept(B, F)) == 1, "what B had is kept"


@in_virtual_time
async def test_a_lock_right_after_an_unlock_that_b_has_not_heard_of(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.b.gates["unhold"] = asyncio.Event()
        unlocking = asyncio.create_task(unlock(world))
        await world.until(lambda: X not in world.coordinator.holds)
        locking = asyncio.create_task(lock(world))
        await asyncio.sleep(0.5)
        world.b.gates["unhold"].set()
        assert await unlocking == 1
        assert not await locking
        await world.settle()
        await queued(world, b"2", b"3")
        assert await unlock(world) == 2
        await world.settle()


@in_virtual_time
async def test_a_wait_ends_only_when_b_knows_that_the_lock_has_ended(tmp_path):
    """Until then it keeps back what it had no room to capture."""
    async with World(tmp_path) as world:
        await locked(world)
        world.b.gates["unhold"] = asyncio.Event()
        assert await unlock(world) == 0
        waiting = asyncio.create_task(world.coordinator.wait_in_sync())
        await asyncio.sleep(60)
        assert not waiting.done()
        assert not world.coordinator.is_in_sync
        world.b.gates["unhold"].set()
        await waiting


@in_virtual_time
async def test_that_a_lock_has_ended_is_told_again_where_b_could_not_hear_it(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        world.b.failing["unhold"] = StateError("the disk is full")
        assert await unlock(world) == 0
        await asyncio.sleep(60)
        assert world.b.held == {X}
        del world.b.failing["unhold"]
        await world.settle()
        assert world.b.held == set()


@in_virtual_time
async def test_locks_that_ended_while_b_was_away_end_there_too(tmp_path):
    names = [at(f"f{number:03}") for number in range(350)]
    async with World(tmp_path) as world:
        for name in names:
            world.a.write(name, b"0")
        await world.start()
        for name in names:
            await lock(world, name)
        await world.detach(B)
        for name in names[100:220]:
            await unlock(world, name)
        world.attach(B)
        await world.settle()
        assert world.a.held == world.b.held == {*names[:100], *names[220:]}


@in_virtual_time
async def test_neither_lock_nor_unlock_waits_long_for_a_b_that_hangs(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        for method in ("hold", "unhold", "look"):
            world.b.gates[method] = asyncio.Event()
        clock = asyncio.get_running_loop().time
        began = clock()
        assert not await lock(world)
        assert clock() - began <= 1.5
        began = clock()
        assert await unlock(world) == 0
        assert clock() - began <= 0.1
        for gate in world.b.gates.values():
            gate.set()
        await world.settle()


async def test_a_lock_that_b_hears_of_late_holds_what_b_did_meanwhile(pair):
    await pair.unlock(F)
    await pair.settle()
    await pair.part()
    pair.become(B, F, standing(b"before", 100))
    await pair.settle()
    await pair.lock(F)
    pair.become(B, F, standing(b"after", 200))
    await pair.settle()
    await pair.join()
    await pair.settle()
    assert held(pair) == [(B, b"after")], "of what B did without knowing of the lock only the last is there"
    assert pair.standing(A, F)[0] == b"original"
    assert pair.standing(B, F)[0] == b"after"
    pair.become(B, F, standing(b"later", 300))
    await pair.settle()
    assert held(pair) == [(B, b"after"), (B, b"later")]
    assert await pair.unlock(F) == 2


async def test_a_lock_that_ended_and_began_anew_while_b_was_away(pair):
    """B has gone on capturing: those are states of B, in order, so they are the new lock's."""
    await pair.part()
    pair.become(B, F, standing(b"one", 100))
    await pair.settle()
    assert await pair.unlock(F) == 0
    await pair.lock(F)
    pair.become(B, F, standing(b"two", 50))
    await pair.settle()
    await pair.join()
    await pair.settle()
    assert held(pair) == [(B, b"one"), (B, b"two")]
    assert pair.standing(A, F)[0] == b"original"


async def test_what_b_captured_survives_its_restart_and_that_of_a(pair):
    await pair.end(A)
    for number in range(5):
        pair.become(B, F, standing(b"state %d" % number, 100 + number))
        await pair.settle()
    await pair.end(B)
    for content in (b"not seen", b"found"):
        pair.become(B, F, standing(content, 200))
    await pair.start(B)
    await pair.settle()
    await pair.end(B)
    await pair.start(*Role)
    await pair.join()
    await pair.settle()
    assert held(pair) == [*((B, b"state %d" % number) for number in range(5)), (B, b"found")]
    assert not list((pair.state(B) / "captures").iterdir())
