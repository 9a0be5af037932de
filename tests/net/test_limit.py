"""The limit of what is sent a second: kept in the long run by all connections together, and control first."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from dirsync.core.entry import Digest
from dirsync.errors import Unreachable
from dirsync.net.limit import Limiter
from dirsync.wire.meeting import Chunk
from dirsync.wire.replica_messages import PutReply, PutRequest, StageReply, StageRequest
from tests.support.memory_link import joined
from tests.support.virtual_time import in_virtual_time

RATE = 100_000
PART = 50_000
PUT = PutRequest(Digest(bytes(32)), 10**9, 0)
STAGE = StageRequest(Digest(bytes(32)), 1)


async def answer(request, incoming):
    if isinstance(request, StageRequest):
        return StageReply(0)
    while (await incoming.receive()).data:
        pass
    return PutReply(is_good=True)


async def parts(count):
    for _ in range(count):
        yield Chunk(bytes(PART))
    yield Chunk(b"")


def now():
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def limited_pair():
    """Control and bulk connections under one limit, and the wire of each."""
    control, far_control, control_wire = joined()
    bulk, far_bulk, bulk_wire = joined()
    limiter = Limiter(RATE)
    control.limit(limiter, is_first=True)
    bulk.limit(limiter, is_first=False)
    far_control.serve(answer)
    far_bulk.serve(answer)
    async with far_control, far_bulk, control, bulk:
        yield control, bulk, control_wire, bulk_wire


@in_virtual_time
async def test_a_large_content_takes_its_time():
    async with limited_pair() as (_, bulk, _, wire):
        begin = now()
        assert await bulk.upload(PUT, parts(40)) == PutReply(is_good=True)
        assert 40 * PART / RATE - 1 < now() - begin < 40 * PART / RATE + 1
        assert wire.crossed >= 40 * PART


@in_virtual_time
async def test_control_does_not_wait_for_bulk():
    async with limited_pair() as (control, bulk, _, _):
        uploading = asyncio.create_task(bulk.upload(PUT, parts(40)))
        for _ in range(5):
            await asyncio.sleep(1.3)
            begin = now()
            await control.request(STAGE)
            assert now() - begin < 0.1
        assert not uploading.done()
        await uploading


@in_virtual_time
async def test_bulk_makes_room_for_control_and_both_keep_to_the_limit():
    async with limited_pair() as (control, bulk, control_wire, bulk_wire):
        begin = now()
        uploading = asyncio.create_task(bulk.upload(PUT, parts(1000)))
        controlling = asyncio.create_task(control.upload(PUT, parts(1000)))
        await asyncio.sleep(60)
        crossed = control_wire.crossed + bulk_wire.crossed
        # Heartbeats and grants of the far ends cross the same wires.
        assert RATE * (now() - begin) - 2 * PART < crossed < RATE * (now() - begin) + 4 * PART
        assert bulk_wire.crossed < 3 * PART
        for task in (uploading, controlling):
            task.cancel()
        await asyncio.wait([uploading, controlling])


@in_virtual_time
async def test_who_waits_for_the_limit_is_told_of_the_end_at_once():
    async with limited_pair() as (control, bulk, _, _):
        uploading = asyncio.create_task(bulk.upload(PUT, parts(4)))
        controlling = asyncio.create_task(control.upload(PUT, parts(4)))
        await asyncio.sleep(0.1)
        begin = now()
        await bulk.close()
        await control.close()
        for task in (uploading, controlling):
            with pytest.raises(Unreachable):
                await task
        assert now() - begin < 0.6


@in_virtual_time
async def test_what_goes_first_waits_only_for_what_went_first():
    limiter = Limiter(RATE)
    limiter.count(RATE, is_first=False)
    assert 0.9 < limiter.delay_seconds(is_first=False) <= 1
    assert limiter.delay_seconds(is_first=True) <= 0
    limiter.count(RATE, is_first=True)
    assert 1.9 < limiter.delay_seconds(is_first=False) <= 2
    assert 0.9 < limiter.delay_seconds(is_first=True) <= 1
