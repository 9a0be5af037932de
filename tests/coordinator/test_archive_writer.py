"""The base reaches the database: soon, in batches, again after a failure, and at a clean end."""

import asyncio

import pytest

from dirsync.coordinator.archive_writer import ArchiveWriter
from dirsync.core.events import EventName
from dirsync.errors import StateError
from dirsync.store.database import Database
from tests.support.trees import at, file
from tests.support.virtual_time import in_virtual_time

X, Y = at("x"), at("y")


class Ground:
    """An archive writer at work on a real database."""

    def __init__(self, state):
        self.database = Database.open(state)
        self.events = []
        self.writer = ArchiveWriter(self.database, lambda *event: self.events.append(event))

    async def __aenter__(self):
        self.running = asyncio.create_task(self.writer.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self.running.cancel()
        await asyncio.wait([self.running])
        self.database.close()

    async def stored(self):
        return dict((await self.writer.load()).items())


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


@in_virtual_time
async def test_what_is_recorded_is_written(ground):
    async with ground:
        ground.writer.record(X, file("x"))
        ground.writer.record(Y, file("y"))
        ground.writer.record(Y, None)
        await ground.writer.wait_written()
        assert await ground.stored() == {X: file("x")}


@in_virtual_time
async def test_a_clear_drops_what_was_recorded_before_it_and_nothing_else(ground):
    async with ground:
        ground.writer.record(X, file("x"))
        await ground.writer.wait_written()
        ground.writer.record(X, file("newer"))
        ground.writer.clear()
        ground.writer.record(Y, file("y"))
        await ground.writer.wait_written()
        assert await ground.stored() == {Y: file("y")}


@in_virtual_time
async def test_a_failure_is_said_once_and_tried_again_until_it_works(ground):
    async with ground:
        write, tries = ground.writer._write, []

        def fail(*what):
            tries.append(what)
            if len(tries) < 5:
                raise StateError("the disk is full")
            write(*what)

        ground.writer._write = fail
        loop = asyncio.get_running_loop()
        since = loop.time()
        ground.writer.record(X, file("x"))
        await asyncio.sleep(0.1)
        ground.writer.record(X, file("newer"))
        await ground.writer.wait_written()
        assert await ground.stored() == {X: file("newer")}
        assert [name for name, _, _ in ground.events] == [EventName.ERROR]
        assert loop.time() - since == pytest.approx(0.5 + 1 + 2 + 4)


@in_virtual_time
async def test_a_clear_survives_a_failure(ground):
    async with ground:
        ground.writer.record(X, file("x"))
        await ground.writer.wait_written()
        write = ground.writer._write

        def fail(*what):
            ground.writer._write = write
            raise StateError("the disk is full")

        ground.writer._write = fail
        ground.writer.clear()
        await ground.writer.wait_written()
        assert await ground.stored() == {}


@in_virtual_time
async def test_a_clean_end_leaves_nothing_unwritten(tmp_path):
    async with Ground(tmp_path) as ground:
        ground.writer.record(X, file("x"))
    async with Ground(tmp_path) as ground:
        assert await ground.stored() == {X: file("x")}


@in_virtual_time
async def test_a_base_that_equals_what_stands_is_no_second_copy(ground):
    async with ground:
        ground.writer.record(X, file("x"))
        ground.writer.record(Y, file("y"))
        await ground.writer.wait_written()
        standing = {at("x"): file("x"), Y: file("another")}
        base = await ground.writer.load(standing.items())
    assert dict(base.items()) == {X: file("x"), Y: file("y")}
    assert base.get(X) is standing[X]
