"""The coordinator between two replicas in memory: whatever happens, both end up the same, and nothing runs hot."""

import asyncio
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings

from dirsync.coordinator import loop
from dirsync.core.entry import File, Problem, Role
from dirsync.core.events import EventName
from dirsync.core.reports import Change, Failed, Refused
from dirsync.errors import RootLost, Unreachable
from tests.support.coordinated import World
from tests.support.fake_replica import Standing, digest_of
from tests.support.trees import at, base_trees, disturbed, edits
from tests.support.virtual_time import in_virtual_time, run

X, Y, Z, D = at("x"), at("y"), at("z"), at("d")
CONTENTS = {digest_of(content): content for content in (b"content %d" % number for number in range(7))}


def plant(replica, entries):
    """Have these entries stand there, as if edited while nobody watched."""
    replica._tree = {
        path: Standing(entry, CONTENTS[entry.digest] if isinstance(entry, File) else None)
        for path, entry in entries.items()
    }


@contextmanager
def counted_calls():
    """Count the calls of functions meanwhile, builtin ones too: what is done, not how long it took."""
    count = [0]

    def note(_frame, event, _argument):
        count[0] += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


def mapping(replica):
    return {path: entry for path, (entry, _) in replica.tree().items()}


@settings(max_examples=40, deadline=None)
@given(base_trees(), edits(), edits())
def test_any_two_trees_become_the_same(base, script_a, script_b):
    async def live():
        with tempfile.TemporaryDirectory() as state:
            async with World(Path(state)) as world:
                plant(world.a, base)
                await world.start()
                assert mapping(world.b) == base
                for role in Role:
                    await world.detach(role)
                plant(world.a, disturbed(base, script_a, 0))
                plant(world.b, disturbed(base, script_b, 1))
                await world.start()
                assert world.coordinator.pair.is_idle
                assert not world.said(EventName.ERROR)

    run(live())


@settings(max_examples=20, deadline=None)
@given(base_trees(), edits())
def test_a_first_run_loses_nothing(one, other_script):
    async def live():
        with tempfile.TemporaryDirectory() as state:
            async with World(Path(state)) as world:
                other = disturbed({}, other_script, 1)
                plant(world.a, one)
                plant(world.b, other)
                await world.start()
                assert set(mapping(world.a)) >= set(one) | set(other)

    run(live())


@in_virtual_time
async def test_what_was_deleted_while_nobody_watched_is_deleted(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        await world.start()
    async with World(tmp_path) as world:
        world.b.write(X, b"x")
        await world.start()
        assert world.a.tree() == world.b.tree() == {}


@in_virtual_time
@pytest.mark.parametrize("reader", Role)
async def test_what_was_not_read_yet_waits_and_everything_else_goes_on(tmp_path, reader):
    async with World(tmp_path) as world:
        slow, quick = world.replicas[reader], world.replicas[reader.other]
        for path in (X, Y, Z):
            slow.write(path, b"old")
        await world.start()
        for role in Role:
            await world.detach(role)
        slow.remove(Y)
        slow.unread = {X, Y}
        quick.write(X, b"newer")
        quick.remove(Z)
        quick.write(at("w"), b"new")
        for role in Role:
            world.attach(role)
        await world.until(lambda: slow.tree().keys() == {X, at("w")})
        assert (slow.read(X), quick.tree().keys()) == (b"old", {X, Y, at("w")})
        assert not world.coordinator.is_in_sync
        slow.read_rest()
        await world.settle()
        assert slow.tree() == quick.tree()
        assert quick.tree().keys() == {X, at("w")}
        assert quick.read(X) == b"newer"


@in_virtual_time
async def test_with_another_replica_nothing_is_deleted(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        await world.start()
        standing = dict(world.a._tree)
    async with World(tmp_path) as world:
        world.a._tree = standing
        world.attach(Role.A)
        await world.until(lambda: Role.A in world.coordinator.ready)
        await world.coordinator.first_run(Role.B)
        # A report that says nothing new, before B was ever seen: it agrees with nobody.
        world.a._report(Change(X, world.a._tree[X].entry))
        await world.until(lambda: not world.a._reports)
        world.attach(Role.B)
        await world.settle()
        assert set(world.b.tree()) == {X}


@in_virtual_time
async def test_first_run_in_the_middle_of_a_snapshot(tmp_path):
    async with World(tmp_path) as world:
        for number in range(8):
            world.a.write(at(f"f{number}"), b"x")
        await world.start()
        standing = dict(world.a._tree)
    async with World(tmp_path) as world:
        world.a._tree = standing
        world.attach(Role.A)
        await world.until(lambda: world.a.calls.get("snapshot"))
        await asyncio.sleep(0)
        await world.coordinator.first_run(Role.B)
        world.attach(Role.B)
        await world.settle()
        assert set(world.b.tree()) == set(standing)


@in_virtual_time
async def test_at_a_first_meeting_the_second_is_believed_to_hold_what_the_first_does(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        world.b.write(X, b"x")
        gate = world.a.gates["snapshot"] = asyncio.Event()
        world.attach(Role.A)
        await world.until(lambda: world.a.calls.get("snapshot"))
        world.attach(Role.B)
        await asyncio.sleep(10)
        assert not world.b.calls.get("snapshot")
        gate.set()
        await world.settle()
        assert world.b.believed == {X: world.a.tree()[X][0]}


@in_virtual_time
async def test_once_they_have_agreed_nobody_waits_for_the_comparison_of_the_other(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        await world.start()
        await world.detach(Role.A)
        await world.detach(Role.B)
        gate = world.a.gates["snapshot"] = asyncio.Event()
        world.attach(Role.A, Role.B)
        await world.until(lambda: world.b.calls["snapshot"] == 2)
        assert world.b.believed == {X: world.b.tree()[X][0]}
        gate.set()
        await world.settle()


@in_virtual_time
async def test_a_lost_root_is_waited_for_without_asking_again_and_again(tmp_path):
    async with World(tmp_path) as world:
        await world.start()
        world.b.lose_root("gone")
        await world.until(lambda: world.coordinator.paused)
        world.a.write(X, b"meanwhile")
        world.b.find_root()
        world.b._is_lost = True  # it is lost again before the snapshot
        await world.until(lambda: not world.b._reports)
        snapshots = world.b.calls["snapshot"]
        await asyncio.sleep(100)
        assert world.coordinator.paused[Role.B] == "the directory is gone"
        assert world.b.calls["snapshot"] <= snapshots + 1
        world.b.find_root()
        await world.settle()
        assert not world.coordinator.paused


@in_virtual_time
async def test_what_was_reported_before_the_snapshot_of_a_root_that_is_back_does_not_count(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        await world.start()
        world.b.lose_root("gone")
        world.b.find_root()
        world.b._report(Change(X, Problem("it cannot be read")))  # taken together with the root's return
        await world.until(lambda: world.b.are_reports_taken)
        await world.settle()
        assert world.coordinator.pair.views.get(Role.B, X) == world.a._tree[X].entry


@in_virtual_time
async def test_what_is_given_while_an_inventory_is_taken_does_not_count_as_deleted(tmp_path, monkeypatch):
    async with World(tmp_path) as world:
        world.a.write(X, b"x")
        await world.start()
        apply, snapshot = world.b.apply, world.b.snapshot
        has_begun, may_go_on, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow_apply(steps):
            has_begun.set()
            await may_go_on.wait()
            return await apply(steps)

        async def slow_snapshot(believed=()):
            async for rows in snapshot(believed):
                yield rows
                may_go_on.set()
                await asyncio.sleep(5)
            has_ended.set()

        monkeypatch.setattr(world.b, "apply", slow_apply)
        monkeypatch.setattr(world.b, "snapshot", slow_snapshot)
        world.a.write(Y, b"y")
        await has_begun.wait()
        world.b.find_root()  # the word that it was lost was overtaken
        asyncio.get_running_loop().call_later(50, may_go_on.set)
        await has_ended.wait()
        await world.settle()
        assert world.a.read(Y) == world.b.read(Y) == b"y"
        assert [fields["change"] for fields in world.said(EventName.SYNCED, Y)] == ["added"]


@in_virtual_time
async def test_a_root_that_is_lost_at_the_start_is_waited_for(tmp_path):
    async with World(tmp_path) as world:
        world.b._is_lost = True
        world.a.write(X, b"x")
        world.attach(*Role)
        await world.until(lambda: Role.B in world.coordinator.paused)
        world.b.find_root()
        await world.settle()


@in_virtual_time
async def test_another_directory_in_its_place_ends_the_attachment(tmp_path):
    async with World(tmp_path) as world:
        await world.start()
        world.b.lose_root("gone")
        world.b.find_root(is_new=True)
        assert isinstance(await world.ended(Role.B), RootLost)
        assert Role.B not in world.coordinator.replicas


@in_virtual_time
async def test_a_replica_that_was_lost_and_is_back(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"1")
        await world.start()
        assert isinstance(await world.lose(Role.B), Unreachable)
        assert not world.coordinator.is_in_sync
        world.a.write(X, b"2")
        world.a.write(Y, b"new")
        world.b.remove(X)
        world.attach(Role.B)
        await world.settle()
        assert world.b.read(X) == b"2"


@in_virtual_time
async def test_a_child_follows_when_its_parent_turned_up_by_itself(tmp_path):
    async with World(tmp_path) as world:
        await world.start()
        world.b.gives(D, Failed("no"), Failed("no"), Failed("no"), Failed("no"))
        world.a.mkdir(D)
        await world.until(lambda: world.said(EventName.ERROR, D))
        world.a.write(at("d/x"), b"x")
        await asyncio.sleep(0.1)
        world.b.mkdir(D)
        await world.settle()
        assert world.b.read(at("d/x")) == b"x"


def _move(replica, source, target):
    """Rename as a program does; return the reports of the new name and of the old one."""
    standing = replica._tree.pop(source)
    replica._tree[target] = standing
    return Change(target, standing.entry), Change(source, None)


async def _move_while_the_directory_is_made(world):
    """Leave B making a directory for a file that A reports as moved into it, the old name last."""
    world.a.write(X, b"1")
    await world.start()
    gate = world.b.gates["apply"] = asyncio.Event()
    world.a.mkdir(D)
    await world.until(lambda: world.coordinator.pair.is_busy(D))
    new, old = _move(world.a, X, at("d/x"))
    world.a._report(new)
    await world.until(lambda: world.coordinator.pair.arriving)
    world.a._report(old)
    await world.until(lambda: world.coordinator.pair.views.get(Role.A, X) is None)
    await world.until(lambda: not world.coordinator.pair.dirty)
    assert not world.coordinator.pair.is_busy(X)
    return gate


@in_virtual_time
async def test_what_moved_into_a_new_directory_is_renamed_also_where_its_old_name_is_reported_later(tmp_path):
    async with World(tmp_path) as world:
        gate = await _move_while_the_directory_is_made(world)
        gate.set()
        await world.settle()
        (step,) = world.b.steps_for(at("d/x"))
        assert step.action.renamed_from == X


@in_virtual_time
async def test_what_waits_to_be_renamed_into_a_directory_waits_for_no_lock(tmp_path):
    async with World(tmp_path) as world:
        gate = await _move_while_the_directory_is_made(world)
        assert not await world.coordinator.holds.lock(D)
        await world.until(lambda: world.coordinator.pair.is_busy(X))
        gate.set()
        await world.until(lambda: X not in world.b._tree)


@in_virtual_time
async def test_what_lies_in_a_directory_whose_bits_cannot_be_set_goes_on(tmp_path):
    """It may be somebody else's directory: that one is tried again now and then, and nothing in it waits for that."""
    async with World(tmp_path) as world:
        world.a.mkdir(D)
        await world.start()
        world.b.gives(D, *[Failed("not permitted")] * 99)
        world.a.chmod(D, 0o700)
        await world.until(lambda: world.said(EventName.ERROR, D))
        await asyncio.sleep(100)
        begin = asyncio.get_running_loop().time()
        world.a.write(at("d/x"), b"x")
        await world.until(lambda: at("d/x") in world.b._tree)
        assert asyncio.get_running_loop().time() - begin < 0.1


@in_virtual_time
async def test_what_turned_up_in_a_directory_that_could_not_become_a_file_is_planned_with_it_again(tmp_path):
    async with World(tmp_path) as world:
        world.a.mkdir(D)
        await world.start()
        world.b.gives(D, Failed("the directory is not empty"))
        world.a.remove(D)
        world.a.write(D, b"a file now")
        await world.until(lambda: world.said(EventName.ERROR, D))
        world.b.write(at("d/x"), b"x")
        await world.settle()
        assert world.a.read(at("d/x")) == b"x"


class TestInSync:
    @in_virtual_time
    async def test_is_said_once_and_when_it_is_true(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            await world.until(lambda: world.coordinator.is_in_sync)
            said = len(world.said(EventName.IN_SYNC))
            await asyncio.sleep(100)
            assert len(world.said(EventName.IN_SYNC)) == said
            world.a.write(X, b"x")
            await world.until(lambda: len(world.said(EventName.IN_SYNC)) > said)
            assert world.a.tree() == world.b.tree()

    @in_virtual_time
    async def test_is_not_said_while_something_is_being_written(self, tmp_path):
        async with World(tmp_path) as world:
            world.b.unsettled = ((X, None),)
            world.attach(*Role)
            await asyncio.sleep(10)
            assert not world.said(EventName.IN_SYNC)
            world.b.unsettled = ()
            await world.settle()

    @in_virtual_time
    async def test_is_not_said_while_a_path_fails_or_cannot_be_read(self, tmp_path):
        async with World(tmp_path) as world:
            world.b.write(Y, b"y")
            await world.start()
            said = len(world.said(EventName.IN_SYNC))
            world.b._report(Change(Y, Problem("unreadable")))
            await asyncio.sleep(100)
            assert len(world.said(EventName.IN_SYNC)) == said
            assert world.coordinator.pending() == [Y]
            world.b._report(Change(Y, world.b._tree[Y].entry))
            await world.settle()

    @in_virtual_time
    async def test_waits_for_what_was_seen_by_the_last_look(self, tmp_path):
        """A change that the look found is on its way while the look returns."""
        async with World(tmp_path) as world:
            await world.start()
            world.b.gates["reports"] = asyncio.Event()
            world.b.write(X, b"x")
            waiting = asyncio.create_task(world.coordinator.wait_in_sync())
            await asyncio.sleep(5)
            assert not waiting.done()
            world.b.gates.pop("reports").set()
            await waiting
            assert world.a.read(X) == b"x"

    @in_virtual_time
    async def test_waiting_has_both_look_at_everything(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            before = {role: world.replicas[role].calls["look full"] for role in Role}
            world.b.failing["look full"] = Unreachable("not now")
            waiting = asyncio.create_task(world.coordinator.wait_in_sync())
            await asyncio.sleep(5)
            assert not waiting.done()
            assert world.b.calls["look full"] < 100
            del world.b.failing["look full"]
            good = world.b.calls["look full"]
            await waiting
            assert world.b.calls["look full"] == good + 1
            assert world.a.calls["look full"] > before[Role.A]

    @in_virtual_time
    async def test_a_look_outlives_a_snapshot_in_between(self, tmp_path):
        """The count of reports starts anew then; whoever waits for the old count would wait for ever."""
        async with World(tmp_path) as world:
            await world.start()
            for number in range(20):
                world.b.write(at(f"f{number}"), b"x")
            await world.settle()
            world.b.gates["look"] = asyncio.Event()
            looking = asyncio.create_task(world.coordinator.look(Role.B, is_full=False))
            await asyncio.sleep(0.1)
            stale = await super(type(world.b), world.b).look(False)
            world.b.lose_root("gone")
            world.b.find_root()
            await world.until(lambda: not world.b._reports)
            await world.until(lambda: Role.B in world.coordinator.ready)
            world.b.look = answering(stale)
            world.b.gates.pop("look").set()
            with pytest.raises(Unreachable):
                await looking


def answering(look):
    async def answer(_is_full):
        return look

    return answer


class TestEffort:
    @in_virtual_time
    async def test_a_refusal_without_news_is_tried_again_later(self, tmp_path):
        async with World(tmp_path) as world:
            world.b.write(X, b"1")
            await world.start()
            world.a.write(X, b"2")
            present = world.b._tree[X].entry
            world.b.gives(X, *[Refused(present)] * 4)
            await asyncio.sleep(3)
            assert len(world.b.steps_for(X)) <= 4
            await world.settle()

    @in_virtual_time
    async def test_a_refused_rename_without_news_is_tried_again_later(self, tmp_path):
        async with World(tmp_path) as world:
            world.a.write(X, b"1")
            await world.start()
            entry = world.b._tree[X].entry
            world.b.gives(Y, *[Refused(None, entry)] * 4)
            standing = world.a._tree.pop(X)
            world.a._tree[Y] = standing
            world.a._report(Change(X, None))
            world.a._report(Change(Y, standing.entry))
            await asyncio.sleep(3)
            assert len(world.b.steps_for(Y)) <= 4
            await world.settle()

    @in_virtual_time
    async def test_planning_is_near_linear_in_what_changed(self, tmp_path):
        async with World(tmp_path) as world:
            world.attach(*Role)
            await world.settle()
            few, many = [await calls_to_settle(world, f"d{number}", number) for number in (1_000, 4_000)]
            assert many < few * 6, (few, many)

    @in_virtual_time
    async def test_being_quiet_is_asked_cheaply_while_many_paths_are_open(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            for number in range(2_000):
                world.b._report(Change(at(f"f{number}"), Problem("unreadable")))
            await world.until(lambda: world.coordinator.pair.views.open_count == 2_000)
            await world.until(lambda: world.coordinator.pair.is_idle)
            with counted_calls() as count:
                assert not world.coordinator._is_quiet()
            assert count[0] < 50


async def calls_to_settle(world, directory, number):
    world.a.mkdir(at(directory))
    for index in range(number):
        world.a.write(at(f"{directory}/f{index}"), b"%d" % index)
    planning = world.coordinator._plan_once
    total = 0

    def counted():
        nonlocal total
        with counted_calls() as count:
            planning()
        total += count[0]

    world.coordinator._plan_once = counted
    await world.settle()
    del world.coordinator._plan_once
    return total


@in_virtual_time
async def test_very_much_is_planned_in_parts_and_others_get_their_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_PLAN_PATHS_MAX", 7)
    async with World(tmp_path) as world:
        await world.start()
        world.a.mkdir(D)
        for number in range(40):
            world.a.write(at(f"d/f{number}"), b"%d" % number)
        await world.settle()
        plan, planned = loop.plan, []

        def counted(views, paths, *conditions):
            planned.append(len(paths := list(paths)))
            return plan(views, paths, *conditions)

        monkeypatch.setattr(loop, "plan", counted)
        world.a.remove(D)
        await world.settle()
        assert world.b.tree() == {}
        assert max(planned) <= 7
