"""How Server A lends replicas to its coordinator: first runs, sessions of two connections, directories that change."""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.errors import RootLost, StateError, Unreachable
from dirsync.run import identity
from dirsync.run.role_a import _keep_attached, _unless_ended, attach
from tests.support.coordinated import World
from tests.support.memory_link import joined
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time


async def never():
    await asyncio.Event().wait()


async def fails(error):
    raise error


async def test_a_session_ends_with_its_bulk_connection():
    near, far, _ = joined()
    async with near:
        async with far:
            lending = asyncio.create_task(_unless_ended(never(), near))
            await asyncio.sleep(0)
        with pytest.raises(Unreachable):
            await lending


async def test_what_ends_the_work_is_raised_and_nothing_goes_on():
    near, far, _ = joined()
    async with near, far:
        with pytest.raises(RootLost, match="another"):
            await _unless_ended(fails(RootLost("another directory")), near)
        lending = asyncio.create_task(_unless_ended(never(), near))
        await asyncio.sleep(0)
        lending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lending
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not {"replica b", "bulk connection"} & names


@in_virtual_time
async def test_another_replica_is_a_first_run_and_learnt_when_that_is_durable(tmp_path):
    async with World(tmp_path) as world:
        for role in Role:
            identity.learn_partner(world.database, role, b"known")
        world.a.write(at("x"), b"x")
        await world.start()
        await world.lose(Role.B)
        world.b.join()
        world.b.remove(at("x"))
        task = asyncio.create_task(attach(world.coordinator, world.database, world.b, b"another"))
        await world.settle()
        assert set(world.b.tree()) == {at("x")}
        assert identity.partner(world.database, Role.B) == b"another"
        task.cancel()
        await asyncio.wait([task])


@in_virtual_time
async def test_the_same_replica_is_no_first_run(tmp_path):
    async with World(tmp_path) as world:
        for role in Role:
            identity.learn_partner(world.database, role, b"known")
        world.a.write(at("x"), b"x")
        await world.start()
        await world.lose(Role.B)
        world.b.join()
        world.b.remove(at("x"))
        task = asyncio.create_task(attach(world.coordinator, world.database, world.b, b"known"))
        await world.settle()
        assert set(world.a.tree()) == set()
        task.cancel()
        await asyncio.wait([task])


@in_virtual_time
async def test_a_replica_that_fails_is_attached_again_after_a_while(tmp_path):
    async with World(tmp_path) as world:
        said = []
        world.a.replica_id = b"a"
        world.a.failing["hold"] = StateError("the disk is full")
        keeping = asyncio.create_task(
            _keep_attached(world.coordinator, world.database, world.a, lambda *event: said.append(event))
        )
        await asyncio.sleep(20)
        assert 3 <= world.a.calls["hold"] < 10
        assert {name for name, _, _ in said} == {EventName.ERROR}
        del world.a.failing["hold"]
        world.attach(Role.B)
        await world.settle()
        keeping.cancel()
        await asyncio.wait([keeping])


@in_virtual_time
async def test_a_directory_that_was_replaced_is_attached_as_another(tmp_path):
    async with World(tmp_path) as world:
        world.a.replica_id = b"a"
        keeping = asyncio.create_task(_keep_attached(world.coordinator, world.database, world.a, lambda *_: None))
        world.a.write(at("x"), b"x")
        world.attach(Role.B)
        await world.settle()
        world.a.lose_root("gone")
        world.a._tree.clear()
        world.a.replica_id = b"another a"
        world.a.find_root(is_new=True)
        await world.until(lambda: at("x") in world.a.tree())
        await world.settle()
        assert identity.partner(world.database, Role.A) == b"another a"
        keeping.cancel()
        await asyncio.wait([keeping])
