"""A lock asked for while an update of B is on its way to directory_a: it is granted before or after, not within.

Whatever stands there when the lock is answered stands there until the unlock.
"""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.limits import INLINE_BYTES_MAX
from tests.coordinator.test_holds import X, lock, queued, unlock
from tests.support.coordinated import World
from tests.support.virtual_time import in_virtual_time

SMALL, LARGE = b"from b", b"l" * (INLINE_BYTES_MAX + 1)


@pytest.mark.parametrize("method", ["apply", "applied"])
@in_virtual_time
async def test_an_apply_that_has_begun_ends_before_the_answer(tmp_path, method):
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        gate = world.a.gates[method] = asyncio.Event()
        world.b.write(X, SMALL)
        await world.until(lambda: X in world.coordinator.pair.ages[Role.A]._under_way)
        locking = asyncio.create_task(lock(world))
        await asyncio.sleep(5)
        assert not locking.done()
        world.b.write(X, b"later")
        gate.set()
        assert not await locking
        assert world.a.read(X) == SMALL
        await world.until(lambda: world.coordinator.holds.depth(X) == 1)
        await world.coordinator.wait_in_sync()
        assert world.a.read(X) == SMALL
        assert await unlock(world) == 1
        await world.settle()
        assert world.a.read(X) == b"later"


@pytest.mark.parametrize("method", ["supply", "chunk"])
@in_virtual_time
async def test_what_is_still_being_brought_is_held(tmp_path, method):
    """It has not begun to change the directory, so the lock does not wait for it, and it is not applied."""
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        gate = world.b.gates[method] = asyncio.Event()
        world.b.write(X, LARGE)
        await world.until(lambda: world.coordinator.pair.is_busy(X))
        assert not await lock(world)
        assert world.a.read(X) == b"0"
        gate.set()
        await world.until(lambda: world.coordinator.holds.depth(X) == 1)
        await world.coordinator.wait_in_sync()
        assert world.a.read(X) == b"0"
        assert await unlock(world) == 1
        await world.settle()
        assert world.a.read(X) == LARGE


@in_virtual_time
async def test_a_lock_among_other_files_of_one_batch(tmp_path):
    async with World(tmp_path) as world:
        paths = [X, *(type(X)(b"y%d" % number) for number in range(20))]
        for path in paths:
            world.a.write(path, b"0")
        await world.start()
        gate = world.a.gates["apply"] = asyncio.Event()
        for path in paths:
            world.b.write(path, b"1")
        await world.until(lambda: X in world.coordinator.pair.ages[Role.A]._under_way)
        locking = asyncio.create_task(lock(world))
        gate.set()
        assert not await locking
        await queued(world, b"2")
        await world.coordinator.wait_in_sync()
        assert all(world.a.read(path) == b"1" for path in paths)
        assert await unlock(world) == 1


@pytest.mark.parametrize("method", ["apply", "applied"])
@in_virtual_time
async def test_an_apply_whose_connection_is_lost_meanwhile(tmp_path, method):
    """B is lost while directory_a is being changed: the change goes on, so the lock still waits for its end."""
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        gate = world.a.gates[method] = asyncio.Event()
        world.b.write(X, SMALL)
        await world.until(lambda: X in world.coordinator.pair.ages[Role.A]._under_way)
        await world.lose(Role.B)
        locking = asyncio.create_task(lock(world))
        await asyncio.sleep(5)
        assert not locking.done()
        gate.set()
        assert not await locking
        assert world.a.read(X) == SMALL
        world.attach(Role.B)
        await world.coordinator.wait_in_sync()
        assert world.coordinator.holds.depth(X) == 0
        await queued(world, b"later")
        assert world.a.read(X) == SMALL


@in_virtual_time
async def test_a_conflict_that_a_lock_comes_before_is_none_yet(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"one")
        world.b.write(X, b"another, which loses")
        gate = world.a.gates["fetch"] = asyncio.Event()
        world.attach(*Role)
        await world.until(lambda: world.a.calls.get("fetch"))
        await world.coordinator.holds.lock(X)
        gate.set()
        await world.coordinator.wait_in_sync()
        assert world.b.read(X) == b"another, which loses"
        assert await world.coordinator.conflicts.newest(10) == (0, [])
