"""A near replica does what it is told, guarded, and does not report its own work."""

import asyncio
import errno
import os
import threading
from collections import Counter

import pytest
from blake3 import blake3

from dirsync.core.entry import Digest, Directory, File, Problem, Symlink
from dirsync.core.events import EventName
from dirsync.core.paths import ROOT
from dirsync.core.plan import Action
from dirsync.core.reports import (
    Applied,
    Change,
    ContentAt,
    ContentOfCapture,
    ContentOfVersion,
    Failed,
    HeldName,
    Missing,
    Refused,
    Step,
    now_standing,
)
from dirsync.core.versions import Why
from dirsync.disk import apply, durability, swap
from dirsync.disk.hints import Hints
from dirsync.disk.staging import Staging
from dirsync.errors import Refusal, RootLost, StateError
from dirsync.limits import HELD_BYTES_MIN, INLINE_BYTES_MAX
from dirsync.replica import applying
from dirsync.store import given_rows, held_names
from tests.replica.local_ground import local_ground, rel


def a_file(content: bytes, mtime_ns: int = 10**18, mode: int = 0o644) -> File:
    return File(Digest(blake3(content).digest()), len(content), mtime_ns, mode)


def add(name: str, content: bytes) -> Step:
    return Step(Action(rel(name), None, a_file(content)), content)


def no_room(*_):
    """Stand in for a call that writes to the state."""
    raise StateError("the disk of the state directory is full")


async def hold_a_file(ground):
    """Have a file `a` held; return its entry."""
    ground.write("a", b"old")
    before = (await ground.until("a", File)).found
    await ground.replica.hold([HeldName(rel("a"), before)])
    return before


def noted(ground):
    """Return the held updates that are noted as (to be) given, and whether each was."""
    with ground.replica._site.database.transaction() as connection:
        return [(gift.update, gift.is_done) for gift in given_rows.load(connection)]


async def chunks_of(content: bytes, size: int = 65_536):
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_an_apply_is_not_echoed(tmp_path):
    async with local_ground(tmp_path) as ground:
        steps = [Step(Action(rel("d"), None, Directory(0o750))), *(add(f"d/f{n}", b"%d" % n) for n in range(40))]
        steps.append(Step(Action(rel("l"), None, Symlink(b"d/f1"))))
        assert all(isinstance(result, Applied) for result in await ground.replica.apply(steps))
        assert ground.read("d/f7") == b"7"
        assert os.readlink(ground.path("l")) == b"d/f1"
        assert os.stat(ground.path("d/f7")).st_mtime_ns == 10**18
        assert await ground.drain() == []
        changed = Step(Action(rel("d/f7"), a_file(b"7"), a_file(b"new", 2 * 10**18)), b"new")
        gone = Step(Action(rel("d/f8"), a_file(b"8"), None))
        moved = Step(Action(rel("d/g"), None, a_file(b"9"), renamed_from=rel("d/f9"), expected_source=a_file(b"9")))
        results = await ground.replica.apply([changed, gone, moved])
        assert [type(result) for result in results] == [Applied, Applied, Applied]
        assert results[2].is_renamed
        assert await ground.drain() == []
        await ground.replica.look(is_full=True)
        assert await ground.drain() == []
        assert ground.of(EventName.DETECTED) == []
        assert ground.replica.files == 40


async def test_what_an_apply_has_put_in_place_is_known_before_the_index_says_so(tmp_path, monkeypatch):
    """Most hints come while the batch that leads to them is still being made durable."""
    found, sync_directories = [], apply.sync_directories

    def looked_at_before(*arguments):
        found.append((ground.replica._watching._is_as_known(b"f"), ground.replica._site.index.get(rel("f"))))
        return sync_directories(*arguments)

    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(apply, "sync_directories", looked_at_before)
        await ground.replica.apply([add("f", b"new")])
        assert found == [(True, None)]
        assert ground.replica._site.placed == {}
        assert ground.replica._watching._is_as_known(b"f")


async def test_what_could_not_be_made_durable_is_looked_at(tmp_path, monkeypatch):
    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(apply, "sync_directories", lambda *_: {ROOT: OSError(errno.EIO, "broken")})
        (result,) = await ground.replica.apply([add("f", b"new")])
        assert isinstance(result, Failed)
        assert (await ground.until("f", File)).found == a_file(b"new")
        assert ground.replica._site.placed == {}


async def test_a_hint_is_dropped_only_where_the_stat_proves_that_nothing_is_new(tmp_path):
    async with local_ground(tmp_path) as ground:
        assert all(isinstance(each, Applied) for each in await ground.replica.apply([add(n, b"1") for n in "abcdef"]))
        await ground.drain()
        watching = ground.replica._watching
        taken = []
        watching._take = lambda _, hints: taken.append(hints.paths)
        os.chmod(ground.path("b"), 0o600)
        os.unlink(ground.path("c"))
        os.truncate(ground.path("d"), 0)
        await ground.replica.hold([HeldName(rel("e"), a_file(b"1"))])
        watching._watcher._on_hints(Hints(paths={b"", b"a", b"b", b"c", b"d", b"e", b"f", b"new"}, written={b"f"}))
        async with asyncio.timeout(60):
            while {b"", b"b", b"c", b"d", b"e", b"f", b"new"} not in taken:
                await asyncio.sleep(0)
        assert not any(b"a" in paths for paths in taken)


@pytest.mark.parametrize("failing", ["save_rows", "put"])
async def test_what_was_staged_goes_when_the_state_cannot_be_written(tmp_path, monkeypatch, failing):
    async with local_ground(tmp_path) as ground:
        ground.write("first", b"has a row before anybody is told")
        await ground.until("first", File)
        ground.write("a", b"old")
        change = await ground.until("a", File)
        await ground.replica.hold([HeldName(rel("a"), change.found)])
        monkeypatch.setattr(applying if failing == "save_rows" else given_rows, failing, no_room)
        with pytest.raises(StateError):
            await ground.replica.apply([Step(Action(rel("a"), change.found, a_file(b"new")), b"new", update=1)])
        monkeypatch.undo()
        assert os.listdir(ground.state / "staging") == []
        assert not ground.replica._site.ground.staging._live
        assert ground.read("a") == b"old"


@pytest.mark.parametrize("is_known", [True, False], ids=["nothing was given", "what was given before is not known"])
async def test_no_inode_is_given_back_while_it_stands_for_what_was_to_be_given(tmp_path, monkeypatch, is_known):
    """Else whatever gets the inode next would pass for the update that was refused, which would be dropped."""
    rows, discard = [], Staging.discard

    def look_and_discard(staging, staged):
        rows.append(noted(ground))
        discard(staging, staged)

    async with local_ground(tmp_path) as ground:
        before = await hold_a_file(ground)
        if not is_known:
            step = Step(Action(rel("a"), before, a_file(b"given")), b"given", update=1)
            assert all(isinstance(result, Applied) for result in await ground.replica.apply([step]))
        ground.write("a", b"somebody's")
        monkeypatch.setattr(Staging, "discard", look_and_discard)
        group = [Step(Action(rel("a"), before, a_file(b"%d" % n)), b"%d" % n, update=n) for n in (2, 3)]
        results = await ground.replica.apply(group)
        assert not any(isinstance(result, Applied) for result in results)
        assert rows == [[] if is_known else [(1, True)]] * 2


async def test_nothing_stays_noted_of_what_was_to_be_given_to_a_root_that_is_lost(tmp_path):
    async with local_ground(tmp_path) as ground:
        before = await hold_a_file(ground)
        await ground.drain()
        ground.root.rename(tmp_path / "away")
        with pytest.raises(RootLost):
            await ground.replica.apply([Step(Action(rel("a"), before, a_file(b"new")), b"new", update=1)])
        assert noted(ground) == []


@pytest.mark.parametrize("update", [0, 1], ids=["an edit of A", "a held update"])
async def test_what_was_done_but_could_not_be_noted_is_reported(tmp_path, monkeypatch, update):
    async with local_ground(tmp_path) as ground:
        before = await hold_a_file(ground)
        monkeypatch.setattr(*((given_rows, "finish") if update else (held_names, "put")), no_room)
        with pytest.raises(StateError):
            await ground.replica.apply([Step(Action(rel("a"), before, a_file(b"new")), b"new", update=update)])
        monkeypatch.undo()
        assert ground.read("a") == b"new"
        (change,) = await ground.drain()
        assert (change.path, change.found) == (b"a", a_file(b"new"))


async def test_where_it_cannot_be_noted_how_far_a_group_came_its_inodes_stay(tmp_path, monkeypatch):
    async with local_ground(tmp_path) as ground:
        before = await hold_a_file(ground)
        monkeypatch.setattr(given_rows, "finish", no_room)
        first = Step(Action(rel("a"), before, a_file(b"given")), b"given", update=1)
        second = Step(Action(rel("a"), before, a_file(b"refused")), b"refused", update=2)
        with pytest.raises(StateError):
            await ground.replica.apply([first, second])
        assert ground.read("a") == b"given"
        assert noted(ground) == [(1, False), (2, False)]
        (staged,) = (ground.state / "staging").iterdir()
        assert staged.read_bytes() == b"refused"
    monkeypatch.undo()
    async with local_ground(tmp_path) as ground:
        assert os.listdir(ground.state / "staging") == []
        assert noted(ground) == [(1, True)]


async def test_what_goes_right_after_it_was_applied_is_told_to_be_gone(tmp_path, monkeypatch):
    known_at = swap.known_at

    def look_too_late(place, *rest):
        os.unlink(place[1], dir_fd=place[0])
        return known_at(place, *rest)

    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(swap, "known_at", look_too_late)
        (result,) = await ground.replica.apply([add("a", b"ours")])
        assert isinstance(result, Applied)
        (change,) = await ground.drain()
        assert (change.path, change.found) == (b"a", None)
        assert change.serial > result.serial


async def test_a_surprise_is_refused_and_reported(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("a", b"somebody's")
        (result,) = await ground.replica.apply([add("a", b"ours")])
        assert isinstance(result, Refused)
        assert result.found.digest == a_file(b"somebody's").digest
        assert ground.read("a") == b"somebody's"
        change = await ground.until("a", File)
        assert change.content == b"somebody's"


async def test_missing_content_is_asked_for_received_and_used(tmp_path):
    async with local_ground(tmp_path) as ground:
        content = bytes(range(256)) * 4_000
        step = Step(Action(rel("big"), None, a_file(content)))
        digest = a_file(content).digest
        assert await ground.replica.apply([step]) == [Missing(digest)]
        assert await ground.replica.stage(digest, len(content)) == 0
        with pytest.raises(ConnectionError):
            await ground.replica.put(digest, len(content), 0, broken_off(content))
        have = await ground.replica.stage(digest, len(content))
        assert 0 < have < len(content)
        assert await ground.replica.put(digest, len(content), have, chunks_of(content[have:]))
        assert await ground.replica.stage(digest, len(content)) == len(content)
        assert isinstance((await ground.replica.apply([step]))[0], Applied)
        assert ground.read("big") == content
        assert await ground.drain() == []


async def broken_off(content: bytes):
    yield content[:600_000]
    raise ConnectionError


async def test_content_that_is_here_is_found_by_digest(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"same")
        await ground.snapshot()
        copy = Step(Action(rel("b"), None, a_file(b"same")))
        assert isinstance((await ground.replica.apply([copy]))[0], Applied)
        assert ground.read("b") == b"same"
        for name in ("a", "b"):
            here = File(a_file(b"same").digest, 4, os.stat(ground.path(name)).st_mtime_ns, 0o644)
            assert isinstance((await ground.replica.apply([Step(Action(rel(name), here, None))]))[0], Applied)
        kept = Step(Action(rel("c"), None, a_file(b"same")))
        assert isinstance((await ground.replica.apply([kept]))[0], Applied)
        assert ground.read("c") == b"same"


async def test_an_edit_during_an_apply_is_reported(tmp_path):
    async with local_ground(tmp_path) as ground:
        task = asyncio.ensure_future(ground.replica.apply([add(f"f{n}", b"%d" % n) for n in range(100)]))
        while not os.path.exists(ground.path("f0")):
            await asyncio.sleep(0)
        ground.write("f0", b"edited")
        await task
        await ground.drain()
        assert ground.seen[rel("f0")].digest == a_file(b"edited").digest


async def test_contents_are_supplied_while_they_are_what_was_asked_for(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        content = os.urandom(3_000_000)
        ground.write("big", content)
        ground.write("small", b"small")
        seen = await ground.snapshot()
        big = ContentAt(rel("big"), seen[rel("big")])
        parts = [part async for part in ground.replica.supply(big, 1_000)]
        assert b"".join(parts) == content[1_000:]
        small = ContentAt(rel("small"), seen[rel("small")])
        other = ContentAt(rel("small"), a_file(b"other"))
        assert list(await ground.replica.fetch([small, other, big])) == [b"small", None, None]
        supplying = ground.replica.supply(big, 0)
        await anext(supplying)
        ground.write("big", b"short")
        with pytest.raises(Refusal):
            async for _ in supplying:
                pass
        with pytest.raises(Refusal):
            await anext(ground.replica.supply(big, 0))


async def test_history_and_restore(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([Step(Action(rel("d"), None, Directory(0o755))), add("d/a", b"one")])
        two = Step(Action(rel("d/a"), a_file(b"one"), a_file(b"two", 3 * 10**18)), b"two")
        (replaced,) = await ground.replica.apply([two])
        gone = Action(rel("d/a"), a_file(b"two", 3 * 10**18), None)
        deleted, _ = await ground.replica.apply([Step(gone), Step(Action(rel("d"), Directory(0o755), None))])
        history = await ground.replica.history(rel("d/a"))
        assert [(version.id, version.why) for version in history] == [
            (deleted.kept, Why.DELETED),
            (replaced.kept, Why.REPLACED),
        ]
        reference = ContentOfVersion(replaced.kept, history[1].entry)
        assert list(await ground.replica.fetch([reference])) == [b"one"]
        assert await ground.replica.restore(replaced.kept) == history[1]
        assert ground.read("d/a") == b"one"
        await ground.drain()
        assert ground.seen[rel("d/a")] == a_file(b"one")
        assert (rel("d/a"), {"change": "added", "size": 3}) in ground.of(EventName.DETECTED)
        for unknown in ("a999", "b1", "x", "a-1", "a"):
            with pytest.raises(Refusal):
                await ground.replica.restore(unknown)


async def test_versions_have_bounds(tmp_path):
    async with local_ground(tmp_path) as ground:
        before = None
        for number in range(4):
            content = b"%d" % number * 100
            await ground.replica.apply([Step(Action(rel("a"), before, a_file(content)), content)])
            before = a_file(content)
        assert len(await ground.replica.history(rel("a"))) == 3
    async with local_ground(tmp_path, versions_max_bytes=150) as ground:
        while len(await ground.replica.history(rel("a"))) != 1 or len(os.listdir(ground.state / "versions")) != 1:
            await asyncio.sleep(0.001)


async def test_states_of_a_held_name_are_captured_in_order(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"zero")
        seen = await ground.snapshot()
        await ground.replica.hold([HeldName(rel("a"), seen[rel("a")])])
        wanted = [b"one", b"x" * (INLINE_BYTES_MAX + 1), None, b"three"]
        for content in wanted:
            if content is None:
                os.unlink(ground.path("a"))
            else:
                ground.write("a", content)
            await ground.replica.look(is_full=False)
        changes = [*await ground.next()]
        assert [change.found and change.found.digest for change in changes] == [
            content and a_file(content).digest for content in wanted
        ]
        captures = [change.capture for change in changes]
        assert captures == sorted(captures)
        assert captures[0] > 0
        large = ContentOfCapture(captures[1], changes[1].found)
        assert b"".join([part async for part in ground.replica.supply(large, 0)]) == wanted[1]
        assert [change.content for change in changes] == [b"one", None, None, b"three"]
        await ground.replica.release(captures[:2])
        await ground.snapshot()
        again = await ground.next()
        assert [change.capture for change in again] == captures[2:]
        with pytest.raises(Refusal):
            await anext(ground.replica.supply(large, 0))
        await ground.replica.unhold([rel("a")])
        # What was captured and not released counts for nothing any more, so what stands there is told.
        assert [(change.found.digest, change.capture) for change in await ground.drain()] == [
            (a_file(b"three").digest, 0)
        ]
        assert os.listdir(ground.state / "captures") == []
        ground.write("a", b"four")
        assert (await ground.until("a", File)).capture == 0


async def test_a_copy_that_cannot_be_removed_ends_nothing(tmp_path, monkeypatch):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"zero")
        seen = await ground.snapshot()
        await ground.replica.hold([HeldName(rel("a"), seen[rel("a")])])
        real, refused = os.unlink, []

        def unlink(path, **options):
            if os.path.dirname(os.fsdecode(path)).endswith("captures"):
                refused.append(path)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(path, **options)

        monkeypatch.setattr(os, "unlink", unlink)
        os.chmod(ground.path("a"), 0o600)
        os.chmod(ground.path("a"), 0o644)  # what was captured for a look at it is the state of before
        await ground.replica.look(is_full=True)
        assert refused
        ground.write("a", b"one")
        await ground.replica.look(is_full=False)
        assert [change.found.size for change in await ground.next()] == [3]


async def test_captures_survive_a_restart(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        ground.write("a", b"one")
        (change,) = await ground.next()
        assert change.capture
    (tmp_path / "root" / "a").write_bytes(b"two")
    async with local_ground(tmp_path) as ground:
        await ground.replica.look(is_full=False)
        changes = [report for report in await ground.replica.reports() if isinstance(report, Change)]
        assert [found.found.digest for found in changes] == [a_file(b"one").digest, a_file(b"two").digest]
        assert changes[0].capture == change.capture
        assert list(await ground.replica.fetch([ContentOfCapture(change.capture, change.found)])) == [b"one"]


async def test_what_was_to_be_captured_when_the_lock_ended_is_not_told_after_what_was_applied_since(
    tmp_path, monkeypatch
):
    async with local_ground(tmp_path) as ground:
        before = await hold_a_file(ground)
        replica = ground.replica
        holds, captured, results = replica._settling.holds, replica._settling.holds.captured, []

        async def overtaken(path, entry, *rest):
            if not results:
                await replica.unhold([path])
                results.extend(await replica.apply([Step(Action(path, entry, a_file(b"given")), b"given")]))
            return await captured(path, entry, *rest)

        monkeypatch.setattr(holds, "captured", overtaken)
        ground.write("a", b"edited")
        told = [(await ground.until("a", File)).found]
        told += [change.found for change in await ground.drain()]
        assert [type(result) for result in results] == [Applied]
        assert before != told[-1] == a_file(b"given")
        assert ground.read("a") == b"given"


async def test_what_is_not_seen_is_captured_at_once(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"present")
        await ground.snapshot()
        await ground.replica.hold([HeldName(rel("a"), a_file(b"older"))])
        (change,) = await ground.next()
        assert change.capture
        assert change.content == b"present"


async def test_a_given_state_is_no_update_of_a_held_name(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        await ground.replica.apply([add("a", b"given")])
        assert await ground.drain() == []


async def test_what_grows_until_there_is_no_room_for_it_is_not_called_being_written(tmp_path):
    async with local_ground(tmp_path, locks_max_bytes=10) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        with open(ground.path("a"), "wb", buffering=0) as writer:
            writer.write(b"1")
            assert (await ground.replica.look(is_full=False)).unsettled
            writer.write(b"x" * 20)
        look = await ground.replica.look(is_full=False)
        assert look.unsettled == ()
        assert any("no room" in fields["reason"] for _, fields in ground.of(EventName.NOTICE))


async def test_without_room_the_directory_keeps_the_only_copy(tmp_path):
    async with local_ground(tmp_path, locks_max_bytes=10) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        ground.write("a", b"12345678")
        (first,) = await ground.next()
        ground.write("a", b"abcdefgh")
        assert await ground.drain() == []
        await ground.replica.look(is_full=True)
        assert len(ground.of(EventName.NOTICE)) == 1
        await ground.replica.release([first.capture])
        (second,) = await ground.next()
        assert second.capture > first.capture
        assert second.content == b"abcdefgh"


async def test_empty_states_count_too(tmp_path):
    def become_empty(ground, mtime_ns):
        fresh = tmp_path / "fresh"
        fresh.touch()
        os.utime(fresh, ns=(mtime_ns, mtime_ns))
        os.replace(fresh, ground.path("a"))

    async with local_ground(tmp_path, locks_max_bytes=HELD_BYTES_MIN + 1) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        captures = []
        for number in range(1, 3):
            become_empty(ground, number)
            captures += await ground.next()
        become_empty(ground, 3)
        assert await ground.drain() == []
        assert any("no room" in fields["reason"] for _, fields in ground.of(EventName.NOTICE))
        await ground.replica.release([change.capture for change in captures])
        (third,) = await ground.next()
        assert third.found.mtime_ns == 3


async def test_a_newly_ignored_name_is_no_deletion(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("keep", b"1")
        ground.write("cache/x.tmp", b"1")
        await ground.snapshot()
        await ground.replica.set_ignore(["*.tmp"])
        await ground.replica.look(is_full=True)
        assert await ground.drain() == []
        assert set(await ground.snapshot()) == {rel("keep"), rel("cache")}
        assert ground.replica.files == 1
        ground.write("cache/y.tmp", b"1")
        ground.write("other", b"1")
        await ground.until("other", File)
        assert rel("cache/y.tmp") not in ground.seen
        await ground.replica.set_ignore([])
        assert {rel("cache/x.tmp"), rel("cache/y.tmp")} <= set(await ground.snapshot())


async def test_a_problem_passes(tmp_path, monkeypatch):
    async with local_ground(tmp_path) as ground:
        import dirsync.replica.looking as looking

        real = looking.probe
        monkeypatch.setattr(looking, "probe", lambda *args, **kwargs: Problem("the disk is tired"))
        ground.write("a", b"1")
        await ground.until("a", Problem)
        assert ground.of(EventName.ERROR) == [(rel("a"), {"reason": "the disk is tired"})]
        monkeypatch.setattr(looking, "probe", real)
        await ground.until("a", File)


async def test_what_is_held_no_more_after_a_crash_is_not_captured_any_longer(tmp_path):
    async with local_ground(tmp_path) as ground:
        for name in ("ended", "held"):
            ground.write(name, name.encode())
            change = await ground.until(name, File)
            await ground.replica.hold([HeldName(rel(name), change.found)])
    async with local_ground(tmp_path) as ground:
        await ground.replica.hold_only([HeldName(rel("held"), change.found)], None, None)
        for name in ("ended", "held"):
            ground.write(name, b"anew")
        captures = {change.path: change.capture for change in await ground.drain()}
        assert not captures[rel("ended")]
        assert captures[rel("held")]


async def test_what_there_was_no_room_to_hold_is_told_when_it_is_not_held_any_more(tmp_path):
    async with local_ground(tmp_path, locks_max_bytes=10) as ground:
        await ground.replica.hold([HeldName(rel("a"), None)])
        ground.write("a", b"more than there is room for")
        assert await ground.drain() == []
        await ground.replica.hold_only((), None, None)
        (change,) = await ground.next()
        assert (change.path, change.capture, change.content) == (b"a", 0, b"more than there is room for")


async def test_what_one_name_is_given_its_hard_link_is_not(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"one")
    for name in ("held", "old"):
        os.link(root / "a", root / name)
    async with local_ground(tmp_path) as ground:
        before, entry = os.stat(ground.path("held")), ground.seen[rel("a")]
        wanted = a_file(b"one", 2 * 10**18, 0o600)
        renamed = Action(rel("new"), None, wanted, renamed_from=rel("old"), expected_source=entry)
        actions = [Action(rel("a"), entry, wanted), renamed, Action(rel("new"), entry, wanted)]
        results = [*await ground.replica.apply(list(map(Step, actions[:2])))]
        results += await ground.replica.apply([Step(actions[2])])
        assert list(map(now_standing, actions, results)) == [wanted, entry, wanted]
        for name in ("a", "new"):
            found = os.stat(ground.path(name))
            assert (found.st_mtime_ns, found.st_mode & 0o777) == (2 * 10**18, 0o600)
            assert ground.read(name) == b"one"
        after = os.stat(ground.path("held"))
        assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


async def test_while_one_batch_waits_for_the_disk_another_is_applied(tmp_path, monkeypatch):
    is_waiting, may_go_on = threading.Event(), threading.Event()
    real, descriptors = durability.sync_file_system, []

    def sync(fd):
        descriptors.append(fd)
        if not is_waiting.is_set():
            is_waiting.set()
            may_go_on.wait()
        real(fd)

    monkeypatch.setattr(durability, "sync_file_system", sync)
    one, two = ([add(f"{batch}{number}", b"new") for number in range(20)] for batch in "ab")
    async with local_ground(tmp_path) as ground:
        first = asyncio.create_task(ground.replica.apply(one))
        try:
            await asyncio.to_thread(is_waiting.wait)
            assert all(isinstance(result, Applied) for result in await ground.replica.apply(two))
            assert not any(name.startswith(b"a") for name in ground.names())
        finally:
            may_go_on.set()
        assert all(isinstance(result, Applied) for result in await first)
        assert len(ground.names()) == 40
    # The kernel tells a descriptor once of what could not be written: each batch has one of its own.
    assert sorted(Counter(descriptors).values()) == [2, 2]
