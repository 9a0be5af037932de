"""An apply makes both sides have held the same, also where the source went on meanwhile: that is a change of it."""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from tests.support.coordinated import World
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

X, Y = at("x"), at("y")


def _write_older(replica, path, content):
    """A writer that sets an older time than that of what it wrote before, as copies with their times do."""
    replica._clock_ns -= 1_000_000_000_000
    replica.write(path, content)


async def _while_it_is_applied(world, role, edit):
    """Do something after an apply at `role` was asked for and before it is done."""
    replica = world.replicas[role]
    calls = replica.calls.get("apply", 0)
    replica.gates["apply"] = asyncio.Event()
    await world.until(lambda: replica.calls.get("apply", 0) > calls)
    edit()
    await world.until(lambda: not world.replicas[role.other]._reports)
    replica.gates.pop("apply").set()
    await world.settle()


@in_virtual_time
async def test_an_older_time_set_while_the_first_content_is_applied_wins(tmp_path):
    for number, role in enumerate(Role):
        async with World(tmp_path / str(number)) as world:
            await world.start()
            source = world.replicas[role.other]
            source.write(X, b"first")
            await _while_it_is_applied(world, role, lambda source=source: _write_older(source, X, b"second"))
            assert source.read(X) == b"second", role
            assert not world.said(EventName.CONFLICT)


@in_virtual_time
async def test_what_is_put_back_while_its_deletion_is_applied_stays(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"content")
        await world.start()
        standing = world.a._tree[X]
        world.a.remove(X)
        await _while_it_is_applied(world, Role.B, lambda: world.a._edit(X, standing))
        assert world.a.read(X) == b"content"


@in_virtual_time
async def test_what_is_renamed_back_while_the_rename_is_applied_stays(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"content")
        await world.start()
        standing = world.a._tree[X]
        world.a._edit(Y, standing)
        world.a.remove(X)

        def rename_back():
            world.a._edit(X, standing)
            world.a.remove(Y)

        await _while_it_is_applied(world, Role.B, rename_back)
        assert set(world.a.tree()) == {X}


async def _lose_the_source_until_the_target_is_heard(world, role, gate):
    """Lose the other replica, let what the gate holds up at this one come through, and meet the other one again."""
    await world.lose(role.other)
    gate.set()
    ages, target = world.coordinator.pair.ages[role], world.replicas[role]
    await world.until(lambda: not ages._under_way and not target._reports)
    await asyncio.sleep(1)  # reports that were handed over are taken in
    world.attach(role.other)


@pytest.mark.parametrize("is_source_lost", [False, True])
@in_virtual_time
async def test_a_result_does_not_hide_what_the_target_reported_after_it(tmp_path, is_source_lost):
    for number, role in enumerate(Role):
        async with World(tmp_path / str(number)) as world:
            await world.start()
            target, source = world.replicas[role], world.replicas[role.other]
            gate = target.gates["applied"] = asyncio.Event()
            source.write(X, b"first")
            await world.until(lambda target=target: X in target.tree())
            if is_source_lost:
                target._clock_ns += 1_000_000_000  # the newest wins, where it is not known that both held the first
            target.write(X, b"and then the target's own")
            await world.until(lambda target=target: not target._reports)
            if is_source_lost:
                await _lose_the_source_until_the_target_is_heard(world, role, gate)
            gate.set()
            await world.settle()
            assert source.read(X) == b"and then the target's own", role


@in_virtual_time
async def test_a_report_from_before_an_apply_is_old_also_where_the_source_is_lost_meanwhile(tmp_path):
    for number, role in enumerate(Role):
        async with World(tmp_path / str(number)) as world:
            await world.start()
            target, source = world.replicas[role], world.replicas[role.other]
            gate = target.gates["reports"] = asyncio.Event()
            target.write(X, b"for a moment")
            target.remove(X)
            source.write(X, b"given")
            await world.until(lambda target=target: X in target.tree())
            await world.until(lambda world=world, role=role: world.coordinator.pair.views.get(role, X) is not None)
            await _lose_the_source_until_the_target_is_heard(world, role, gate)
            await world.settle()
            assert target.read(X) == b"given", role
