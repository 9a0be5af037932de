"""Large contents on their way into a near replica, interrupted at every awkward moment."""

import asyncio
import os
import threading
from contextlib import suppress

import pytest

from dirsync.core.plan import Action
from dirsync.core.reports import Applied, ContentAt, Step
from dirsync.disk import staging as staging_module
from dirsync.disk.receiving import Receiving
from tests.replica.local_ground import local_ground, rel
from tests.replica.test_local_apply import a_file, chunks_of

CONTENT = os.urandom(3_000_000)
FILE = a_file(CONTENT)


async def broken_off(content):
    async for chunk in chunks_of(content):
        yield chunk
    raise ConnectionResetError


async def silent(content):
    async for chunk in chunks_of(content):
        yield chunk
    await asyncio.Event().wait()


class Gate:
    """A worker thread waits in here until the test lets it go on."""

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()

    def pass_through(self):
        self.entered.set()
        assert self.opened.wait(20)

    async def wait_entered(self):
        assert await asyncio.to_thread(self.entered.wait, 20)


async def put_whole(replica):
    have = await replica.stage(FILE.digest, FILE.size)
    assert await replica.put(FILE.digest, FILE.size, have, chunks_of(CONTENT[have:]))
    return have


async def is_applied(replica):
    (result,) = await replica.apply([Step(Action(rel("f"), None, FILE))])
    return isinstance(result, Applied)


async def test_a_content_of_which_every_byte_arrived_but_not_the_end_is_finished_here(tmp_path):
    """As after a kill between the last write and the rename: all is there, under the name of a partial content."""
    async with local_ground(tmp_path) as ground:
        with suppress(ConnectionResetError):
            await ground.replica.put(FILE.digest, FILE.size, 0, broken_off(CONTENT))
        assert await ground.replica.stage(FILE.digest, FILE.size) == FILE.size
        assert await is_applied(ground.replica)
        assert ground.read("f") == CONTENT


async def test_a_complete_but_damaged_partial_content_is_sent_again(tmp_path):
    async with local_ground(tmp_path) as ground:
        with suppress(ConnectionResetError):
            await ground.replica.put(FILE.digest, FILE.size, 0, broken_off(CONTENT[:-1] + b"?"))
        assert await ground.replica.stage(FILE.digest, FILE.size) == 0
        assert await put_whole(ground.replica) == 0
        assert await is_applied(ground.replica)


async def test_a_put_that_is_cancelled_while_it_opens_leaves_the_content_free(tmp_path, monkeypatch):
    """The far end is lost while what is there of a content is read again, which takes a while for a large one."""
    gate, real = Gate(), Receiving._resumed

    def slowly(receiving, offset):
        if not gate.opened.is_set():
            gate.pass_through()
        return real(receiving, offset)

    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(Receiving, "_resumed", slowly)
        putting = asyncio.create_task(ground.replica.put(FILE.digest, FILE.size, 0, silent(CONTENT)))
        await gate.wait_entered()
        putting.cancel()
        again = asyncio.create_task(put_whole(ground.replica))
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await putting
        await again
        assert await is_applied(ground.replica)
        assert not ground.replica._site.ground.staging.is_receiving


async def test_a_put_that_is_cancelled_while_it_writes_keeps_its_file_open_until_that_ends(tmp_path, monkeypatch):
    """Else the number of the descriptor is given to another file, and the rest of the write goes into that."""
    gate, order, real_write, real_close = Gate(), [], os.pwrite, Receiving._close

    def slowly(fd, data, at):
        order.append("write")
        if not gate.opened.is_set():
            gate.pass_through()
        written = real_write(fd, data, at)
        order.append("written")
        return written

    def close(receiving, *part):
        order.append("close")
        real_close(receiving, *part)

    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(Receiving, "_close", close)
        monkeypatch.setattr(os, "pwrite", slowly)
        putting = asyncio.create_task(ground.replica.put(FILE.digest, FILE.size, 0, silent(CONTENT[:-1])))
        await gate.wait_entered()
        putting.cancel()
        await asyncio.sleep(0.05)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await putting
        monkeypatch.undo()
        assert order[-2:] == ["written", "close"]
        assert order.count("close") == 1
        assert await put_whole(ground.replica) > 0
        assert await is_applied(ground.replica)


async def test_a_put_whose_source_fails_and_that_is_then_cancelled_gives_the_content_back(tmp_path):
    """The connection ends, then the session drops its transfers; all threads are at work elsewhere meanwhile."""
    has_arrived, is_lost = asyncio.Event(), asyncio.Event()

    async def lost():
        yield CONTENT[: 1024 * 1024]
        has_arrived.set()
        await is_lost.wait()
        raise ConnectionResetError

    async with local_ground(tmp_path) as ground:
        threads = ground.replica._site.threads
        putting = asyncio.create_task(ground.replica.put(FILE.digest, FILE.size, 0, lost()))
        await has_arrived.wait()
        assert ground.replica._site.ground.staging.is_receiving
        gates = [Gate() for _ in range(3)]
        busy = [asyncio.create_task(threads.bulk(gate.pass_through)) for gate in gates]
        for gate in gates:
            await gate.wait_entered()
        is_lost.set()
        for _ in range(5):
            await asyncio.sleep(0)
        putting.cancel()
        for gate in gates:
            await asyncio.sleep(0)
            gate.opened.set()
        await asyncio.gather(putting, *busy, return_exceptions=True)
        assert await put_whole(ground.replica) == 1024 * 1024
        assert await is_applied(ground.replica)


async def test_a_supply_that_is_cancelled_while_it_opens_leaves_no_descriptor(tmp_path, monkeypatch):
    gate = Gate()

    async with local_ground(tmp_path) as ground:
        ground.write("f", CONTENT)
        change = await ground.until("f", type(FILE))
        contents = ground.replica._contents
        real = contents._open
        opened = []

        def slowly(ref, kept_file):
            gate.pass_through()
            opened.append(real(ref, kept_file))
            return opened[0]

        monkeypatch.setattr(contents, "_open", slowly)
        supply = ground.replica.supply(ContentAt(change.path, change.found), 0)
        first = asyncio.create_task(anext(supply))
        await gate.wait_entered()
        first.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        await ground.replica._site.threads.wait_idle()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0].fd)


async def test_contents_that_nobody_goes_on_with_do_not_pile_up(tmp_path):
    """A large file that is rewritten all the time is begun again and again, each time another content."""
    async with local_ground(tmp_path) as ground:
        for number in range(3 * staging_module.UNCLAIMED_MAX):
            content = b"%d" % number + CONTENT[:70_000]
            file = a_file(content)
            with suppress(ConnectionResetError):
                await ground.replica.put(file.digest, file.size, 0, broken_off(content[:-1]))
        assert len(list((tmp_path / "state" / "staging").iterdir())) <= staging_module.UNCLAIMED_MAX + 2
        # The latest is still there to be resumed.
        assert await ground.replica.stage(file.digest, file.size) == file.size - 1


async def test_large_contents_that_the_disk_takes_long_to_sync_hold_up_nothing_small(tmp_path, monkeypatch):
    gate, real = Gate(), Receiving.finish

    def slowly(receiving):
        gate.pass_through()
        return real(receiving)

    async with local_ground(tmp_path) as ground:
        ground.write("small", b"1")
        change = await ground.until("small", type(FILE))
        monkeypatch.setattr(Receiving, "finish", slowly)
        contents = [CONTENT + bytes([number]) for number in range(4)]
        putting = [
            asyncio.create_task(ground.replica.put(a_file(one).digest, len(one), 0, chunks_of(one))) for one in contents
        ]
        await gate.wait_entered()
        for _ in range(20):  # until the others have come to their end as well
            assert await ground.replica.fetch([ContentAt(change.path, change.found)]) == [b"1"]
        step = Step(Action(rel("new"), None, a_file(b"new")), b"new")
        assert isinstance((await ground.replica.apply([step]))[0], Applied)
        assert not any(put.done() for put in putting)
        gate.opened.set()
        assert all(await asyncio.gather(*putting))
