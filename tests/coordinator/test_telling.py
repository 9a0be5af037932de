"""What was given without an answer, because the line, B, or Server A was lost: what is found then is the answer."""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.errors import StateError, Unreachable
from dirsync.store import unanswered_rows
from tests.support.coordinated import World
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

X, Y = at("x"), at("y")


def noted(world):
    with world.database.transaction() as connection:
        return unanswered_rows.load(connection)


async def give_and_be_killed(world, target, act):
    """Have an act of the other replica given to `target`, and end Server A before it hears of that."""
    target.gates["applied"] = asyncio.Event()
    given = len(target.steps)
    act()
    await world.until(lambda: len(target.steps) > given)


async def given_before_a_kill(state, source):
    """Have a file of one replica given to the other and Server A killed; return both replicas and the world."""
    async with World(state) as world:
        await world.start()
        giver, target = world.replicas[source], world.replicas[source.other]
        await give_and_be_killed(world, target, lambda: giver.write(X, b"journal"))
    return giver, target, world


def after(world, state):
    """Start Server A again, with the same replicas."""
    again = World(state)
    again.replicas = world.replicas
    for replica in world.replicas.values():
        replica.gates.clear()
    return again


@in_virtual_time
async def test_what_was_given_before_the_line_was_lost_is_not_brought_back(tmp_path):
    """A program's journal: made, given to B, and deleted before the line that was lost is there again."""
    async with World(tmp_path) as world:
        await world.start()
        apply = world.b.apply

        async def apply_and_be_lost(steps):
            await apply(steps)
            world.b.apply = apply
            world.b.cut()
            raise Unreachable("the connection was lost")

        world.b.apply = apply_and_be_lost
        world.a.write(X, b"journal")
        await world.until(lambda: Role.B not in world.coordinator.ready)
        assert world.b.read(X) == b"journal"
        world.a.remove(X)
        world.b.write(Y, b"made at B meanwhile")
        world.attach(Role.B)
        await world.settle()
        assert world.a.tree().keys() == world.b.tree().keys() == {Y}


@in_virtual_time
@pytest.mark.parametrize("source", Role)
async def test_what_was_given_before_server_a_was_killed_is_not_brought_back(tmp_path, source):
    giver, target, world = await given_before_a_kill(tmp_path, source)
    assert target.read(X) == b"journal"
    giver.remove(X)
    target.write(Y, b"made there meanwhile")
    async with after(world, tmp_path) as again:
        await again.start()
        assert again.a.tree().keys() == again.b.tree().keys() == {Y}
        assert noted(again) == []


@in_virtual_time
@pytest.mark.parametrize("source", Role)
async def test_what_was_given_before_server_a_was_killed_is_not_brought_back_where_it_is_read_late(tmp_path, source):
    giver, target, world = await given_before_a_kill(tmp_path, source)
    giver.remove(X)
    target.unread = {X}
    async with after(world, tmp_path) as again:
        for role in Role:
            again.attach(role)
        await again.until(lambda: again.coordinator.ready == set(Role))
        target.read_rest()
        await again.settle()
        assert again.a.tree() == again.b.tree() == {}


@in_virtual_time
@pytest.mark.parametrize("source", Role)
async def test_what_was_put_back_after_its_deletion_was_given_stays(tmp_path, source):
    """Moved away and back again, with Server A killed in between."""
    async with World(tmp_path) as world:
        world.replicas[source].write(X, b"kept")
        await world.start()
        giver, target = world.replicas[source], world.replicas[source.other]
        standing = giver._tree[X]
        await give_and_be_killed(world, target, lambda: giver.remove(X))
    assert X not in target.tree()
    giver._edit(X, standing)
    async with after(world, tmp_path) as again:
        await again.start()
        assert again.a.tree().keys() == again.b.tree().keys() == {X}


@in_virtual_time
async def test_what_was_not_done_is_done_after_a_kill(tmp_path):
    async with World(tmp_path) as world:
        await world.start()
        world.b.gates["apply"] = asyncio.Event()
        world.a.write(X, b"new")
        await world.until(lambda: noted(world))
    assert X not in world.b.tree()
    async with after(world, tmp_path) as again:
        await again.start()
        assert again.b.read(X) == b"new"
        await again.coordinator.wait_in_sync()
        assert noted(again) == []


@in_virtual_time
async def test_notes_go_with_the_base_that_follows_from_them(tmp_path):
    async with World(tmp_path) as world:
        await world.start()
        for number in range(20):
            world.a.write(X, b"%d" % number)
            world.b.write(Y, b"%d" % number)
            await world.settle()
        assert len(noted(world)) <= 2


@in_virtual_time
async def test_another_replica_was_told_nothing(tmp_path):
    giver, _, world = await given_before_a_kill(tmp_path, Role.A)
    giver.remove(X)
    again = after(world, tmp_path)
    async with again:
        await again.coordinator.first_run(Role.B)
        assert noted(again) == []
        await again.start()
        assert again.a.read(X) == b"journal"


@in_virtual_time
async def test_nothing_waits_for_a_note_that_cannot_be_made(tmp_path):
    def fail(*_):
        raise StateError("the disk is full")

    async with World(tmp_path) as world:
        await world.start()
        world.archive._note_told = fail
        world.a.write(X, b"new")
        await world.settle()
        assert world.b.read(X) == b"new"
