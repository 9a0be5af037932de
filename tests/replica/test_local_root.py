"""A near replica over time: restarts, and a root that goes away, comes back, or is another one."""

import asyncio
import errno
import os
import shutil
import threading
from contextlib import contextmanager

import pytest
from blake3 import blake3

import dirsync.disk.probe as probe
import dirsync.replica.footing as footing
import dirsync.replica.saving as saving
from dirsync.core.entry import File
from dirsync.core.events import EventName
from dirsync.core.plan import Action
from dirsync.core.reports import Back, Lost, Step
from dirsync.errors import RootLost, StateError
from tests.replica.local_ground import local_ground, rel
from tests.support.state_copy import committed


@pytest.fixture
def readings(monkeypatch):
    counted = []
    real = probe.read_whole

    def read(descriptor, size, *more):
        counted.append(size)
        return real(descriptor, size, *more)

    monkeypatch.setattr(probe, "read_whole", read)
    return counted


async def test_a_restart_reads_nothing_that_is_unchanged(tmp_path, readings):
    async with local_ground(tmp_path) as ground:
        identity = ground.replica.replica_id
        assert ground.replica.is_new
        for number in range(30):
            ground.write(f"d/f{number}", b"%d" % number)
        before = -1
        while before != len(readings):  # until no stat is too young to prove anything
            before = len(readings)
            await ground.replica.look(is_full=True)
        first = await ground.snapshot()
    readings.clear()
    (tmp_path / "root" / "d" / "f7").write_text("changed")
    (tmp_path / "root" / "d" / "f8").unlink()
    async with local_ground(tmp_path) as ground:
        assert not ground.replica.is_new
        assert ground.replica.replica_id == identity
        assert set(readings) == {len("changed")}  # twice, where it is too young
        assert ground.seen.keys() == first.keys() - {rel("d/f8")}
        changes = [(path, fields["change"]) for path, fields in ground.of(EventName.DETECTED)]
        assert sorted(changes) == [(rel("d/f7"), "modified"), (rel("d/f8"), "deleted")]


async def test_a_first_index_is_no_news(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_text("1")
    async with local_ground(tmp_path) as ground:
        assert ground.events == []
        assert isinstance(ground.seen[rel("a")], File)


async def test_a_lost_root_deletes_nothing_and_comes_back(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("d/a", b"1")
        await ground.until("d/a", File)
        identity = ground.replica.replica_id
        ground.root.rename(tmp_path / "away")
        while not any(isinstance(report, Lost) for report in ground.reports):
            await ground.next()
        with pytest.raises(RootLost):
            await ground.replica.look(is_full=True)
        with pytest.raises(RootLost):
            await ground.replica.apply([Step(Action(rel("d/a"), None, None))])
        (tmp_path / "away" / "b").write_text("2")
        (tmp_path / "away").rename(ground.root)
        while Back(is_new=False) not in ground.reports:
            await ground.next()
        while rel("b") not in ground.seen:
            await ground.next()
        ground.write("c", b"3")
        await ground.until("c", File)
        assert ground.seen[rel("d/a")] is not None
        assert ground.replica.replica_id == identity
        assert len(ground.of(EventName.PAUSED)) == len(ground.of(EventName.RESUMED)) == 1


async def test_a_root_that_is_lost_without_a_hint_is_missed_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(footing, "SCAN_INTERVAL_SECONDS", 0.01)
    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(ground.replica._footing, "doubt", lambda: None)
        monkeypatch.setattr(ground.replica._watching, "_on_doubt", lambda: None)
        ground.root.rename(tmp_path / "away")
        while not any(isinstance(report, Lost) for report in ground.reports):
            await ground.next()
        (tmp_path / "away").rename(ground.root)
        while Back(is_new=False) not in ground.reports:
            await ground.next()


async def test_a_root_that_cannot_be_listed_to_its_end_is_lost_until_it_can(tmp_path, monkeypatch):
    real, really_identify, tries = os.scandir, footing.identify, []

    @contextmanager
    def broken(fd):
        with real(fd) as entries:
            yield half_of(entries)

    def half_of(entries):
        yield next(entries)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def identify(*arguments):
        tries.append(1)
        return really_identify(*arguments)

    async with local_ground(tmp_path) as ground:
        for name in ("x/a", "y/b", "z/c"):
            ground.write(name)
            await ground.until(name, File)
        monkeypatch.setattr(footing, "identify", identify)
        monkeypatch.setattr(os, "scandir", broken)
        with pytest.raises(RootLost, match="input/output error"):
            await ground.replica.look(is_full=True)
        while len(tries) < 2:
            await asyncio.sleep(0.01)
        monkeypatch.undo()
        while Back(is_new=False) not in ground.reports:
            await ground.next()
        assert len(await ground.snapshot()) == 6
        assert len(ground.of(EventName.PAUSED)) == len(ground.of(EventName.RESUMED)) == 1


async def test_a_state_that_fails_while_a_root_comes_back_is_tried_again(tmp_path, monkeypatch):
    real, failures = footing.identify, []

    def fail_once(*arguments):
        if not failures:
            failures.append(1)
            raise StateError("the disk of the state directory is full")
        return real(*arguments)

    async with local_ground(tmp_path) as ground:
        ground.write("a")
        await ground.until("a", File)
        monkeypatch.setattr(footing, "identify", fail_once)
        ground.root.rename(tmp_path / "away")
        while not any(isinstance(report, Lost) for report in ground.reports):
            await ground.next()
        (tmp_path / "away").rename(ground.root)
        while Back(is_new=False) not in ground.reports:
            await ground.next()
        assert failures


async def test_a_new_root_that_is_lost_again_while_it_comes_back_is_new_still(tmp_path, monkeypatch):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"1")
        await ground.until("a", File)
        replica_footing, returns = ground.replica._footing, []
        real = replica_footing._on_back

        async def on_back(identity):
            returns.append(identity.is_new)
            await real(identity)
            if len(returns) == 1:
                replica_footing.lose("again")

        monkeypatch.setattr(replica_footing, "_on_back", on_back)
        ground.root.rename(tmp_path / "away")
        ground.root.mkdir()
        while not any(isinstance(report, Back) for report in ground.reports):
            await ground.next()
        assert [report for report in ground.reports if isinstance(report, Back)] == [Back(is_new=True)]
        assert returns == [True, True]
        assert len(ground.of(EventName.RESUMED)) == 1
        ground.write("b", b"2")
        assert rel("b") in await ground.snapshot()


async def test_another_directory_in_its_place_is_a_new_one(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"1")
        await ground.until("a", File)
        identity = ground.replica.replica_id
        ground.root.rename(tmp_path / "away")
        ground.root.mkdir()
        (ground.root / "other").write_text("2")
        while Back(is_new=True) not in ground.reports:
            await ground.next()
        assert ground.replica.replica_id != identity
        seen = await ground.snapshot()
        assert seen.keys() == {rel("other")}
        assert (rel("a"), {"change": "deleted", "size": 0}) not in ground.of(EventName.DETECTED)


@pytest.mark.parametrize("is_emptied", [True, False])
async def test_at_start_an_empty_or_other_root_is_new(tmp_path, is_emptied):
    async with local_ground(tmp_path) as ground:
        ground.write("d/a", b"1")
        await ground.until("d/a", File)
        identity = ground.replica.replica_id
    root = tmp_path / "root"
    if is_emptied:
        (root / "d" / "a").unlink()
    else:
        shutil.rmtree(root)
    async with local_ground(tmp_path) as ground:
        assert ground.replica.is_new
        assert ground.replica.replica_id != identity
        assert len(ground.of(EventName.PAUSED)) == len(ground.of(EventName.RESUMED)) == 1
        assert ground.of(EventName.DETECTED) == []
        identity = ground.replica.replica_id
    async with local_ground(tmp_path) as ground:
        assert not ground.replica.is_new
        assert ground.replica.replica_id == identity


@pytest.mark.parametrize("told_by", ["a report", "a result", "an inventory"])
async def test_whoever_was_told_of_a_file_is_not_told_that_all_are_gone(tmp_path, monkeypatch, told_by):
    """Killed right after it has told of its first file, a server recognises at its start that the root was emptied."""
    monkeypatch.setattr(saving, "_SAVE_SECONDS", 1e6)
    content = File(blake3(b"1").digest(), 1, 10**18, 0o644)
    async with local_ground(tmp_path, is_started=told_by != "an inventory") as ground:
        if told_by == "a result":
            await ground.replica.apply([Step(Action(rel("a"), None, content), b"1")])
        else:
            ground.write("a", b"1")
        if told_by == "a report":
            await ground.until("a", File)
        elif told_by == "an inventory":
            assert isinstance((await ground.snapshot())[rel("a")], File)
        with committed(tmp_path / "state") as connection:
            assert connection.execute("SELECT path FROM index_entries").fetchall() == [(b"a",)]
        (tmp_path / "state").rename(tmp_path / "left")
        shutil.copytree(tmp_path / "left", tmp_path / "state")
    (tmp_path / "root" / "a").unlink()
    async with local_ground(tmp_path) as ground:
        assert ground.replica.is_new


async def test_a_root_that_lost_its_last_file_in_a_crash_does_not_lose_its_name(tmp_path):
    """The server died after it had kept the last file and before it had recorded that."""
    async with local_ground(tmp_path) as ground:
        ground.write("d/a", b"1")
        await ground.until("d/a", File)
        area = ground.replica._site.kept
        file = os.fsdecode(area._new_name(rel("d/a")))
    (tmp_path / "root" / "d" / "a").rename(tmp_path / "state" / "versions" / file)
    for _ in range(2):
        async with local_ground(tmp_path) as ground:
            (version,) = await ground.replica.history(rel("d/a"))
            assert version.entry.size == 1


async def test_a_deleted_tree_is_a_deletion_if_its_root_stays(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("d/a", b"1")
        await ground.until("d/a", File)
    os.unlink(tmp_path / "root" / "d" / "a")
    (tmp_path / "root" / "b").write_text("2")
    async with local_ground(tmp_path) as ground:
        assert not ground.replica.is_new
        assert rel("d/a") not in ground.seen


async def test_a_missing_root_is_an_error(tmp_path):
    async with local_ground(tmp_path) as ground:
        pass
    ground.root.rmdir()
    (tmp_path / "root").symlink_to("nowhere")
    with pytest.raises(RootLost):
        async with local_ground(tmp_path):
            pass


async def test_the_end_leaves_no_thread_and_no_descriptor(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"1")
        await ground.until("a", File)
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        async with local_ground(tmp_path) as ground:
            await ground.replica.look(is_full=True)
    # The default executor of the loop keeps its idle threads; the replica's own are gone.
    own = [thread.name for thread in threading.enumerate() if thread.name.startswith("dirsync-")]
    assert own == []
    assert threading.active_count() <= threads + 6
    # watchfiles gives its own two back a moment after it was closed.
    assert len(os.listdir("/proc/self/fd")) < descriptors + 10


async def fail_within(base):
    async with local_ground(base):
        raise ZeroDivisionError


async def test_an_error_in_the_block_is_not_wrapped(tmp_path):
    with pytest.raises(ZeroDivisionError):
        await fail_within(tmp_path)
