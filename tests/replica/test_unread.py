"""An inventory does not wait for ever for what is still to be read: it names that, and reports follow."""

import asyncio
import os
import threading

import pytest
from blake3 import blake3

from dirsync.core.entry import Directory, File, Problem, Untracked
from dirsync.core.events import EventName
from dirsync.core.reports import ContentAt, HeldName
from dirsync.disk.root import Parents
from dirsync.replica import local, looking, settling
from tests.replica.local_ground import local_ground, rel

A, B, D = rel("a"), rel("b"), rel("d")


class Reading:
    """Holds up every look at a file of the name `b` until it may go on; `begun` is how many there were."""

    def __init__(self, monkeypatch):
        self.may_go_on = threading.Event()
        self.begun = 0
        self._real = looking._probe
        monkeypatch.setattr(looking, "_probe", self._probe)
        monkeypatch.setattr(settling, "_BATCH_PATHS", 1)
        monkeypatch.setattr(local, "INVENTORY_SECONDS", 0.2)

    def _probe(self, parents: Parents, ask, *rest):
        if ask.path == B:
            self.begun += 1
            assert self.may_go_on.wait(60)
        return self._real(parents, ask, *rest)


@pytest.fixture
def reading(monkeypatch):
    reading = Reading(monkeypatch)
    yield reading
    reading.may_go_on.set()


async def test_what_is_still_to_be_read_is_named_and_reported_when_it_was(tmp_path, reading):
    (tmp_path / "root/d").mkdir(parents=True)
    for name in ("a", "b", "d/f"):
        (tmp_path / "root" / name).write_text(name)
    async with local_ground(tmp_path, is_started=False) as ground:
        seen = await ground.snapshot()
        assert seen[B] == Problem("it has not been read yet")
        assert isinstance(seen[A], File)
        assert isinstance(seen[D], Directory)
        reading.may_go_on.set()
        await ground.until("b", File)
        await ground.drain()
        assert ground.seen.keys() == {A, B, D, rel("d/f")}
        assert not ground.of(EventName.DETECTED)  # a first index is no news


async def test_what_is_known_but_may_have_changed_is_not_told_as_it_was(tmp_path, monkeypatch, request):
    async with local_ground(tmp_path) as ground:
        ground.write("b", b"before")
        ground.write("a", b"before")
        await ground.until("a", File)
        await ground.drain()
    ground.write("b", b"after it")
    os.utime(ground.path("a"), ns=(1, 1))
    reading = request.getfixturevalue("reading")
    async with local_ground(tmp_path, is_started=False) as ground:
        seen = await ground.snapshot()
        assert seen[B] == Problem("it has not been read yet")
        reading.may_go_on.set()
        change = await ground.until("b", File)
        assert change.found.digest == blake3(b"after it").digest()


async def test_what_went_before_it_was_read_is_told_to_be_nothing(tmp_path, reading):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("b")
        assert (await ground.snapshot())[B] == Problem("it has not been read yet")
        os.unlink(ground.path("b"))
        reading.may_go_on.set()
        await ground.until("b", None)


async def test_what_turns_out_to_be_ignored_is_told_to_be_nothing(tmp_path, reading):
    (tmp_path / "root").mkdir()
    async with local_ground(tmp_path, is_started=False, ignore=["b/"]) as ground:
        os.mkdir(ground.path("b"))
        while B not in ground.replica._settling._pending:
            await asyncio.sleep(0.01)
        assert (await ground.snapshot())[B] == Problem("it has not been read yet")
        reading.may_go_on.set()
        await ground.until("b", None)
        await ground.drain()
        assert ground.seen == {B: None}


async def test_what_is_known_not_to_be_carried_is_told_as_that(tmp_path, reading):
    (tmp_path / "root").mkdir()
    os.mkfifo(tmp_path / "root/b")
    reading.may_go_on.set()
    async with local_ground(tmp_path) as ground:
        assert isinstance(ground.seen[B], Untracked)
        reading.may_go_on.clear()
        ground.replica._settling.hint([B])
        assert isinstance((await ground.snapshot())[B], Untracked)
        reading.may_go_on.set()
        assert await ground.drain() == []


async def test_a_held_name_is_waited_for(tmp_path, reading):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("b")
        await ground.replica.hold([HeldName(B, None)])
        taking = asyncio.create_task(ground.snapshot())
        await asyncio.sleep(3 * local.INVENTORY_SECONDS)
        assert not taking.done()
        reading.may_go_on.set()
        assert isinstance((await taking)[B], File)


async def test_nothing_small_waits_for_large_files_that_are_read(tmp_path, monkeypatch):
    may_go_on = threading.Event()
    real = settling.look_alone

    def held_up(*arguments, **options):
        assert may_go_on.wait(60)
        return real(*arguments, **options)

    monkeypatch.setattr(settling, "look_alone", held_up)
    monkeypatch.setattr(looking, "LARGE_BYTES", 100)
    async with local_ground(tmp_path) as ground:
        try:
            for number in range(10):
                ground.write(f"large{number}", bytes(1_000))
            ground.write("small", b"small")
            change = await ground.until("small", File)
            while ground.replica._site.threads._running < 10:
                await asyncio.sleep(0.01)
            assert await ground.replica.fetch([ContentAt(rel("small"), change.found)]) == [b"small"]
            assert rel("large0") not in ground.seen
        finally:
            may_go_on.set()
        await ground.drain()
        assert all(rel(f"large{number}") in ground.seen for number in range(10))


async def test_what_a_look_saw_that_began_before_a_short_lock_is_told(tmp_path, reading):
    async with local_ground(tmp_path) as ground:
        ground.write("b")
        await _begun(reading, 1)
        await ground.replica.hold([HeldName(B, None)])
        reading.may_go_on.set()
        reading.may_go_on.clear()
        await _begun(reading, 2)
        await ground.replica.unhold([B])
        reading.may_go_on.set()
        assert (await ground.until("b", File)).capture == 0
        await ground.drain()
        assert len(ground.of(EventName.DETECTED)) == 1


async def test_what_a_lock_had_no_room_for_is_told_where_the_lock_ends_during_the_look(tmp_path, reading):
    async with local_ground(tmp_path, locks_max_bytes=1000) as ground:
        reading.may_go_on.set()
        await ground.replica.hold([HeldName(B, None)])
        await ground.drain()
        reading.may_go_on.clear()
        begun = reading.begun
        (tmp_path / "b").write_bytes(b"more than that" * 100)
        os.rename(tmp_path / "b", ground.path("b"))  # one hint, and none during the look
        await _begun(reading, begun + 1)
        await ground.replica.unhold([B])
        reading.may_go_on.set()
        (change,) = await ground.drain()
        assert isinstance(change.found, File)
        assert not change.capture


async def test_what_a_look_saw_under_an_earlier_lock_is_captured_for_the_present_one(tmp_path, reading):
    reading.may_go_on.set()
    async with local_ground(tmp_path) as ground:
        ground.write("b", b"before")
        before = (await ground.until("b", File)).found
        await ground.replica.hold([HeldName(B, before)])
        reading.may_go_on.clear()
        begun = reading.begun
        ground.replica._settling.distrust([B])
        await _begun(reading, begun + 1)
        await ground.replica.unhold([B])
        await ground.replica.hold([HeldName(B, None)])
        reading.may_go_on.set()
        number = (await ground.until("b", File)).capture
        file = ground.replica._settling.holds.content_file(number)
        assert file.read_bytes() == b"before"


async def _begun(reading, count):
    while reading.begun < count:
        await asyncio.sleep(0.01)
