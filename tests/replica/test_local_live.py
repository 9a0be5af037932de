"""A near replica sees what happens in its directory, at once and truly."""

import asyncio
import os
import sys
import threading
import time

import pytest

from dirsync.core.entry import Directory, File, Problem, Symlink
from dirsync.core.events import EventName
from dirsync.core.listing import Standing
from dirsync.core.reports import ContentAt, HeldName
from dirsync.disk import guard, metadata, root, steps, swap
from dirsync.disk import probe as probing
from dirsync.disk.probe import Unsettled, probe
from dirsync.disk.reading import digest_of
from dirsync.errors import DiskError
from dirsync.limits import VANISH_GRACE_SECONDS
from dirsync.replica import concluding, looking, scanning, settling
from dirsync.replica.looking import Large
from tests.replica.local_ground import local_ground, rel
from tests.replica.test_local_apply import add


async def test_snapshot_holds_everything(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"one")
        ground.write("d/b", b"two")
        os.symlink("a", ground.path("l"))
        seen = await ground.snapshot()
        assert {path: type(entry) for path, entry in seen.items()} == {
            rel("a"): File,
            rel("d"): Directory,
            rel("d/b"): File,
            rel("l"): Symlink,
        }
        assert (ground.replica.files, ground.replica.size) == (3, 7)


async def test_a_new_file_is_reported_with_its_content(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"content")
        change = await ground.until("a", File)
        assert change.content == b"content"
        assert change.age_ms >= 0
        assert (rel("a"), {"change": "added", "size": 7}) in ground.of(EventName.DETECTED)


async def test_every_file_of_a_burst_is_reported(tmp_path):
    async with local_ground(tmp_path) as ground:
        for number in range(2_000):
            ground.write(f"d{number % 20}/e{number % 7}/f{number}", b"%d" % number)
        wanted = {rel(f"d{number % 20}/e{number % 7}/f{number}") for number in range(2_000)}
        while not wanted <= ground.seen.keys():
            await ground.next()
        assert ground.replica.files == 2_000
        assert await ground.drain() == []


async def test_only_the_last_of_many_overwrites_counts(tmp_path):
    async with local_ground(tmp_path) as ground:
        for number in range(200):
            ground.write("a", b"%d" % number)
            if number % 20 == 0:
                await asyncio.sleep(0)
        await ground.drain()
        assert ground.seen[rel("a")].size == 3
        change = [report for report in ground.reports if report.path == rel("a")][-1]
        assert change.content == b"199"


async def test_a_rename_is_one_report_without_a_reading(tmp_path, monkeypatch):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("old", b"x" * 100_000)
        os.utime(ground.path("old"), ns=(10**18, 10**18))
        await ground.snapshot()
        os.rename(ground.path("old"), ground.path("new"))
        changes = await ground.next()
        assert {change.path: change.found for change in changes} == {
            rel("old"): None,
            rel("new"): ground.seen[rel("new")],
        }
        assert isinstance(ground.seen[rel("new")], File)
        assert {fields["change"] for _, fields in ground.of(EventName.DETECTED)} == {"added", "deleted"}


async def test_a_renamed_directory_is_one_report(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        for number in range(600):
            ground.write(f"d/s/f{number}", b"%d" % number)
            os.utime(ground.path(f"d/s/f{number}"), ns=(10**18, 10**18))
        await ground.snapshot()
        os.rename(ground.path("d"), ground.path("e"))
        changes = await ground.drain()
        gone = {change.path for change in changes if change.found is None}
        come = {change.path for change in changes if change.found is not None}
        assert len(gone) == len(come) == 602
        assert {path.replace(b"d/", b"e/", 1) for path in gone - {rel("d")}} == come - {rel("e")}


async def test_a_directory_renamed_while_the_disk_is_slow_is_renamed_all_the_same(tmp_path, monkeypatch):
    """What is in it counts as gone only once the directory of the new name was walked through."""
    walking, go_on, scan = threading.Event(), threading.Event(), settling.scan

    def slow_scan(*what):
        walking.set()
        assert go_on.wait(60)
        return scan(*what)

    monkeypatch.setattr(concluding, "VANISH_WALK_SECONDS_MAX", 60)
    async with local_ground(tmp_path, is_started=False) as ground:
        for number in range(20):
            ground.write(f"d/f{number}", b"%d" % number)
            os.utime(ground.path(f"d/f{number}"), ns=(10**18, 10**18))
        await ground.snapshot()
        with monkeypatch.context() as patched:
            patched.setattr(settling, "scan", slow_scan)
            os.rename(ground.path("d"), ground.path("e"))
            await asyncio.to_thread(walking.wait, 60)
            await asyncio.sleep(10 * VANISH_GRACE_SECONDS)
        go_on.set()
        changes = await ground.drain()
        assert {change.path for change in changes if change.found is None} >= {rel(f"d/f{n}") for n in range(20)}
        come = [change for change in changes if isinstance(change.found, File)]
        assert [change.content for change in come] == [None] * 20


async def test_a_large_file_is_read_once_and_then_recognised_under_a_new_name(tmp_path, monkeypatch):
    """Read within the clock's grain of its last change, its stat would prove nothing, and it would be read again."""
    read, look_alone = [], settling.look_alone

    def noted(root, ask, *rest, **options):
        read.append(ask.path)
        return look_alone(root, ask, *rest, **options)

    monkeypatch.setattr(settling, "look_alone", noted)
    async with local_ground(tmp_path) as ground:
        with open(ground.path("f"), "wb") as file:
            file.truncate(looking.LARGE_BYTES + 1)
        await ground.until("f", File)
        await ground.drain()
        os.rename(ground.path("f"), ground.path("g"))
        come = await ground.until("g", File)
        assert come.found.size == looking.LARGE_BYTES + 1
        assert rel("g") not in read


async def test_a_large_file_that_was_being_written_is_looked_at_again_without_a_hint(tmp_path, monkeypatch):
    looks, look_alone = [], settling.look_alone

    def first_meets_a_writer(directory, ask, *rest, **options):
        looks.append(ask.path)
        if len(looks) > 1:
            return look_alone(directory, ask, *rest, **options)
        status = os.stat(ground.path("f"))
        return Unsettled(root.fingerprint_of(status), Standing(status.st_size, status.st_mtime_ns), has_writer=True)

    monkeypatch.setattr(settling, "look_alone", first_meets_a_writer)
    monkeypatch.setattr(scanning, "SCAN_INTERVAL_SECONDS", 3_600.0)
    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(ground.replica._watching, "_take", lambda watcher, hints: None)
        with open(ground.path("f"), "wb") as file:
            file.truncate(looking.LARGE_BYTES + 1)
        ground.replica._settling.hint([rel("f")])
        async with asyncio.timeout(60):
            await ground.until("f", File)
        assert looks == [rel("f")] * 2


async def test_a_large_file_that_is_written_to_while_its_look_waits_is_read_once(tmp_path, monkeypatch):
    readings, writes, look_alone = [], [], settling.look_alone

    def written_to_before(root, ask, *rest, **options):
        if len(writes) < 3:
            assert options["may_wait"]
            writes.append(b"more")
            with open(ground.path("f"), "ab") as file:
                file.write(writes[-1])
        return look_alone(root, ask, *rest, **options)

    monkeypatch.setattr(settling, "look_alone", written_to_before)
    monkeypatch.setattr(probing, "read_whole", _counting(readings, probing.read_whole))
    async with local_ground(tmp_path) as ground:
        with open(ground.path("f"), "wb") as file:
            file.truncate(looking.LARGE_BYTES + 1)
        await ground.until("f", File)
        await ground.drain()
        assert readings == [looking.LARGE_BYTES + 1 + 3 * len(b"more")]


async def test_a_large_file_that_is_written_to_for_ever_is_looked_at_all_the_same(tmp_path, monkeypatch):
    patience, look_alone = [], settling.look_alone

    def written_to_before(root, ask, *rest, **options):
        patience.append(options["may_wait"])
        just_now = time.time_ns() + 10**9
        os.utime(ground.path("f"), ns=(just_now, just_now))
        return look_alone(root, ask, *rest, **options)

    monkeypatch.setattr(settling, "look_alone", written_to_before)
    async with local_ground(tmp_path) as ground:
        with open(ground.path("f"), "wb") as file:
            file.truncate(looking.LARGE_BYTES + 1)
        async with asyncio.timeout(60):
            await ground.until("f", File)
        assert patience[0]
        assert False in patience


async def test_a_large_file_that_is_doubted_while_its_look_waits_is_read_once(tmp_path, monkeypatch):
    readings, look_at = [], settling.look_at

    def doubted_after(root, asks, *rest):
        outcomes = look_at(root, asks, *rest)
        if any(isinstance(outcome, Large) for outcome in outcomes):
            ground.replica._settling.conclusions.distrust([rel("f")])
        return outcomes

    async with local_ground(tmp_path) as ground:
        with open(ground.path("f"), "wb") as file:
            file.truncate(looking.LARGE_BYTES + 1)
        await ground.until("f", File)
        await ground.drain()
        monkeypatch.setattr(concluding, "_JUST_NOW_NANOSECONDS", 0)  # nothing else doubts it
        monkeypatch.setattr(settling, "look_at", doubted_after)
        monkeypatch.setattr(probing, "read_whole", _counting(readings, probing.read_whole))
        with open(ground.path("f"), "r+b") as file:
            file.write(b"edited")
        await ground.until("f", File)
        await ground.drain()
        assert readings == [looking.LARGE_BYTES + 1]


def _counting(readings, read_whole):
    def counted(fd, expected_size, *rest):
        readings.append(expected_size)
        return read_whole(fd, expected_size, *rest)

    return counted


async def test_what_a_scan_finds_is_looked_at_by_directory(tmp_path, monkeypatch):
    """So that a batch walks to few of them."""
    names = [f"d{number % 10}/f{number:02}" for number in range(40)]
    root = tmp_path / "root"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    looked, look_at = [], settling.look_at

    def noted(root, asks, vanished, is_content_wanted):
        looked.extend(ask.path for ask in asks)
        return look_at(root, asks, vanished, is_content_wanted)

    monkeypatch.setattr(settling, "look_at", noted)
    async with local_ground(tmp_path):
        found = dict.fromkeys(looked)
        assert [path for path in found if b"/" in path] == sorted(map(rel, names))


async def test_a_rewrite_of_what_was_just_put_there_is_seen_although_no_stamp_tells(tmp_path, monkeypatch):
    """In one tick of the kernel's clock, as long as before, with its time put back. Here a tick lasts a minute."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs inotify")
    minute, exact = 60 * 10**9, root.fingerprint_of

    def coarse(status):
        found = exact(status)
        return found._replace(ctime_ns=found.ctime_ns // minute * minute)

    for module in (guard, looking, metadata, probing, steps, swap):
        monkeypatch.setattr(module, "fingerprint_of", coarse)
    monkeypatch.setattr(concluding, "_JUST_NOW_NANOSECONDS", 2 * minute)
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"given")])
        status = os.stat(ground.path("f"))
        ground.write("f", b"other")
        os.utime(ground.path("f"), ns=(status.st_atime_ns, status.st_mtime_ns))
        change = await ground.until("f", File)
        assert change.found.digest == digest_of(b"other")
        assert change.found.mtime_ns == status.st_mtime_ns


async def test_a_tree_moved_in_and_one_removed(tmp_path):
    async with local_ground(tmp_path) as ground:
        outside = tmp_path / "outside" / "x" / "y"
        outside.mkdir(parents=True)
        for number in range(50):
            (outside / f"f{number}").write_text(str(number))
        os.rename(tmp_path / "outside", ground.path("in"))
        await ground.drain()
        assert len([path for path in ground.seen if path.startswith(b"in/x/y/f")]) == 50
        assert ground.replica.files == 50
        import shutil

        shutil.rmtree(ground.path("in"))
        await ground.drain()
        assert {path for path, found in ground.seen.items() if found is not None} == set()
        assert (ground.replica.files, ground.replica.size) == (0, 0)


async def test_a_file_open_for_writing_is_not_reported_half(tmp_path):
    async with local_ground(tmp_path) as ground:
        with open(ground.path("log"), "wb") as stream:
            stream.write(b"half")
            stream.flush()
            look = await ground.replica.look(is_full=False)
            assert [path for path, _ in look.unsettled] == [rel("log")]
            assert look.unsettled[0][1].size == 4
            stream.write(b" and half")
        change = await ground.until("log", File)
        assert change.content == b"half and half"


async def test_a_file_that_stays_open_but_quiet_is_taken(tmp_path):
    async with local_ground(tmp_path) as ground:
        with open(ground.path("log"), "wb") as stream:
            stream.write(b"so far")
            stream.flush()
            change = await ground.until("log", File)
            assert change.content == b"so far"


async def test_names_that_are_not_utf8(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write(b"\xff\xfe/na\xefve", b"1")
        await ground.until(b"\xff\xfe/na\xefve", File)
        ground.write("later", b"2")
        await ground.until("later", File)
        ground.write(b"\xff\xfe/na\xefve", b"22")
        assert (await ground.until(b"\xff\xfe/na\xefve", File)).content == b"22"


async def test_a_fifo_is_skipped_once_and_said_so(tmp_path):
    async with local_ground(tmp_path) as ground:
        os.mkfifo(ground.path("pipe"))
        await ground.drain()
        await ground.replica.look(is_full=True)
        assert [path for path, _ in ground.of(EventName.SKIPPED)] == [rel("pipe")]
        os.unlink(ground.path("pipe"))
        await ground.until("pipe", None)


async def test_metadata_alone(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"1")
        await ground.drain()
        os.chmod(ground.path("a"), 0o600)
        await ground.drain()
        assert ground.seen[rel("a")].mode == 0o600
        os.utime(ground.path("a"), ns=(5, 5))
        await ground.drain()
        assert ground.seen[rel("a")].mtime_ns == 5
        assert [fields["change"] for _, fields in ground.of(EventName.DETECTED)] == ["added", "metadata", "metadata"]


async def test_what_a_snapshot_called_unsettled_is_told_when_it_is_gone(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        with open(ground.path("new"), "wb", buffering=0) as stream:
            stream.write(b"half")
            seen = await ground.snapshot()
            assert isinstance(seen[rel("new")], Problem)
            os.unlink(ground.path("new"))
        while ground.seen[rel("new")] is not None:
            await ground.next()


async def test_what_a_snapshot_called_unsettled_is_told_when_it_is_what_it_was_before(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"content")
        known = await ground.until("a", File)
        with open(ground.path("a"), "r+b", buffering=0):
            os.utime(ground.path("a"), ns=(10**18, 10**18))
            seen = await ground.snapshot()
            assert isinstance(seen[rel("a")], Problem)
            os.utime(ground.path("a"), ns=(known.found.mtime_ns, known.found.mtime_ns))
        while ground.seen[rel("a")] != known.found:
            await ground.next()


async def test_a_held_name_whose_capture_failed_is_told_when_it_is_again_what_was_recorded(tmp_path, monkeypatch):
    is_full = False

    def probe_on_a_full_disk(*arguments, capture_to=None, **options):
        if capture_to is not None and is_full:
            raise DiskError("a copy cannot be kept: no space left on the disk")
        return probe(*arguments, capture_to=capture_to, **options)

    monkeypatch.setattr(looking, "probe", probe_on_a_full_disk)
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"recorded")
        recorded = (await ground.until("a", File)).found
        await ground.replica.hold([HeldName(rel("a"), recorded)])
        os.rename(ground.path("a"), tmp_path / "aside")
        is_full = True
        ground.write("a", b"another")
        await ground.until("a", Problem)
        os.replace(tmp_path / "aside", ground.path("a"))
        is_full = False
        while ground.seen[rel("a")] != recorded:
            await ground.next()


async def test_a_full_look_reads_what_was_only_recognised_by_its_stat(tmp_path, monkeypatch):
    """Other bits are a quick change; what was written before them, unheard and with the time put back, comes too."""
    monkeypatch.setattr(concluding, "_CONFIRM_SECONDS", 3600.0)
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"before")
        os.utime(ground.path("a"), ns=(10**18, 10**18))
        await ground.drain()
        await ground.replica._watching.stop()
        ground.write("a", b"behind")
        os.utime(ground.path("a"), ns=(10**18, 10**18))
        os.chmod(ground.path("a"), 0o600)
        await ground.replica.look(is_full=True)
        known = dict(ground.replica.entries())
        assert known[rel("a")].digest == digest_of(b"behind")


async def test_what_is_fetched_and_is_another_content_is_read_again(tmp_path):
    """As a power cut may leave it: the stat as it was, and zeros."""
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"zeros")
        entry = (await ground.until("a", File)).found
        await ground.drain()  # the hints at the end of the writing, too, have led to their looks
        index, path = ground.replica._site.index, rel("a")
        believed = entry._replace(digest=digest_of(b"value"))
        index.set(path, index.get(path)._replace(entry=believed, looked_ns=time.time_ns() + 10**9))
        assert await ground.drain() == []
        assert await ground.replica.fetch([ContentAt(path, believed)]) == [None]
        (change,) = await ground.next()
        assert (change.path, change.found) == (path, entry)
