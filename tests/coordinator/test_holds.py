"""Locked names between two replicas in memory: held, counted aside, applied in order, and never in anybody's way."""

import asyncio

import pytest

from dirsync.core.entry import Problem, Role
from dirsync.core.events import EventName
from dirsync.core.reports import Failed, Missing, Refused
from dirsync.errors import DiskError, Refusal, RemoteProtocolError, StateError, Unreachable
from tests.support.coordinated import World
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

X, Y, D = at("x"), at("y"), at("d")


async def locked(world, path=X):
    world.a.write(path, b"0")
    await world.start()
    assert not await lock(world, path)


async def lock(world, path=X):
    return await world.coordinator.holds.lock(path)


async def unlock(world, path=X):
    async with asyncio.timeout(100):
        return await world.coordinator.holds.unlock(path)


async def queued(world, *contents, path=X):
    for content in contents:
        depth = world.coordinator.holds.depth(path)
        world.b.write(path, content)
        await world.until(lambda depth=depth: world.coordinator.holds.depth(path) == depth + 1)


def applied_contents(world, path=X):
    """Return what directory_a was given, in order."""
    return [step.content for step in world.a.steps_for(path)]


@in_virtual_time
async def test_updates_wait_in_order_and_in_sync_counts_them_aside(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"22", b"1")
        await world.coordinator.wait_in_sync()
        assert world.a.read(X) == b"0"
        assert await unlock(world) == 3
        assert applied_contents(world) == [b"1", b"22", b"1"]
        await world.settle()
        assert [fields["remaining"] for fields in world.said(EventName.APPLIED, X)] == [2, 1, 0]


@in_virtual_time
async def test_another_file_never_waits_for_a_locked_one(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.b.write(Y, b"y")
        await world.until(lambda: Y in world.a.tree())


@in_virtual_time
async def test_updates_survive_a_restart_once_each(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"2")
        trees = [dict(replica._tree) for replica in world.replicas.values()]
    async with World(tmp_path) as world:
        world.a._tree, world.b._tree = trees
        assert world.coordinator.holds.depth(X) == 2
        world.attach(*Role)
        await world.coordinator.wait_in_sync()
        assert await unlock(world) == 2
        assert applied_contents(world) == [b"1", b"2"]
        await world.settle()


@in_virtual_time
async def test_an_update_that_cannot_be_applied_stops_only_its_own_drain(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"2")
        world.a.gives(X, Failed("it is immutable"))
        with pytest.raises(Refusal, match="it is immutable"):
            await unlock(world)
        assert world.coordinator.holds.depth(X) == 2
        # Nothing is at work any more, and whoever waits is told so.
        async with asyncio.timeout(10):
            await world.coordinator.wait_in_sync()
        assert await unlock(world) == 2
        await world.settle()


@pytest.mark.parametrize("result", [Refused(Problem("it is being changed")), Missing(b"")], ids=["saving", "missing"])
@in_virtual_time
async def test_what_passes_does_not_stop_the_drain(tmp_path, result):
    """A program that saves at A just now; a staged content that had to make room."""
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"2")
        world.a.gives(X, *[result] * 2)
        assert await unlock(world) == 2
        await world.settle()


@pytest.mark.parametrize(
    ("result", "reason"),
    [(Refused(Problem("permission denied")), "permission denied"), (Missing(b""), "its content was not found")],
    ids=["unreadable", "missing"],
)
@in_virtual_time
async def test_what_does_not_pass_stops_the_drain_with_its_reason(tmp_path, result, reason):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"2")
        world.a.gives(X, *[result] * 4)
        with pytest.raises(Refusal, match=f"{reason}; 2 updates stay held"):
            await unlock(world)
        assert await unlock(world) == 2
        await world.settle()


@pytest.mark.parametrize("error", [DiskError, StateError, RemoteProtocolError, Unreachable], ids=lambda e: e.__name__)
@in_virtual_time
async def test_a_drain_outlives_whatever_directory_a_raises(tmp_path, error):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.a.failing["apply"] = error("not now")
        with pytest.raises(Refusal, match="not now"):
            await unlock(world)
        del world.a.failing["apply"]
        assert await unlock(world) == 1
        await world.settle()


@pytest.mark.parametrize("method", ["lock", "unlock", "set_draining", "applied", "contents"])
@in_virtual_time
async def test_a_full_disk_in_the_middle_of_anything_kills_no_server(tmp_path, method):
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        journal = world.coordinator.holds._journal
        sound, failures = getattr(journal, method), [StateError("the disk is full")] * 2

        async def failing(*arguments):
            if failures:
                raise failures.pop()
            return await sound(*arguments)

        setattr(journal, method, failing)
        if method == "lock":
            with pytest.raises(StateError):
                await lock(world)
            assert X not in world.coordinator.holds
            failures.clear()
        await lock(world)
        await queued(world, b"1")
        for _ in range(5):
            try:
                await unlock(world)
            except (Refusal, StateError):
                continue
            break
        await world.settle()
        assert world.a.read(X) == b"1"
        assert applied_contents(world)[-1] == b"1"


@in_virtual_time
async def test_a_lock_is_not_granted_again_before_the_end_of_its_drain_is_durable(tmp_path):
    """A restart would go on with the drain, in a file that somebody was told is locked."""
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        journal = world.coordinator.holds._journal
        sound, failures = journal.set_draining, [StateError("the disk is full")] * 2

        async def failing(path, is_draining, reason=""):
            if not is_draining and failures:
                raise failures.pop()
            await sound(path, is_draining, reason)

        journal.set_draining = failing
        world.a.gives(X, Failed("not now"))
        with pytest.raises(Refusal, match="not now"):
            await unlock(world)
        with pytest.raises(StateError):
            await lock(world)
        assert [each.hold.is_draining for each in await journal.load()] == [True]
        assert await lock(world)
        assert [each.hold.is_draining for each in await journal.load()] == [False]


@in_virtual_time
async def test_where_it_is_locked_again_with_nothing_left_to_apply_the_edit_of_a_passes(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.a.write(X, b"own")
        await world.until(lambda: world.coordinator.holds.depth(X) == 2)
        journal = world.coordinator.holds._journal
        apply, set_seen, asking = journal.applied, journal.set_seen, []

        async def applied(hold, updates):
            if len(updates) == hold.depth:
                asking.append(asyncio.create_task(lock(world)))
                await asyncio.sleep(0)
            await apply(hold, updates)

        async def slowly(path, seen):
            world.coordinator.wake()  # for another name: this one is at work
            await asyncio.sleep(1)
            await set_seen(path, seen)

        journal.applied, journal.set_seen = applied, slowly
        with pytest.raises(Refusal, match="locked again; 0 updates"):
            await unlock(world)
        assert await asking[0]
        await world.until(lambda: world.b.read(X) == b"own")
        assert X in world.coordinator.holds


@in_virtual_time
async def test_what_b_adds_to_a_directory_that_a_has_turned_into_a_locked_file_waits_for_the_unlock(tmp_path):
    async with World(tmp_path) as world:
        world.a.mkdir(X)
        world.b.mkdir(X)
        await world.start()
        assert not await lock(world)
        world.b.write(at("x/new"), b"of B")
        world.a.remove(X)
        world.a.write(X, b"of A")
        async with asyncio.timeout(100):
            await world.coordinator.wait_in_sync()
        assert (world.a.read(X), world.b.read(at("x/new"))) == (b"of A", b"of B")
        await unlock(world)
        await world.settle()
        assert world.a.read(at("x/new")) == b"of B"


@pytest.mark.parametrize("error", [DiskError, StateError, RemoteProtocolError, Refusal], ids=lambda e: e.__name__)
@in_virtual_time
async def test_what_cannot_be_taken_in_holds_up_nothing_else(tmp_path, error):
    async with World(tmp_path) as world:
        await locked(world)
        content = b"l" * 100_000
        world.b.failing["supply"] = error("not now")
        world.b.write(X, content)
        await asyncio.sleep(5)
        world.b.write(Y, b"y")
        await world.until(lambda: Y in world.a.tree())
        del world.b.failing["supply"]
        await world.lose(Role.B)
        world.attach(Role.B)
        await asyncio.sleep(60)
        await unlock(world)
        await world.settle()
        assert world.a.read(X) == content


@in_virtual_time
async def test_a_capture_that_cannot_be_let_go_at_once_keeps_no_later_one_from_being_taken_in(tmp_path):
    """Server A's own replica begins no new session, which would report them all again."""
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.a.failing |= {"supply": Refusal("it is not there any more"), "release": StateError("the disk is full")}
        world.a.write(X, b"lost")
        await asyncio.sleep(5)
        del world.a.failing["release"]
        await asyncio.sleep(60)
        del world.a.failing["supply"]
        world.a.write(X, b"later")
        await world.until(lambda: world.coordinator.holds.depth(X) == 2)
        assert await unlock(world) == 2
        await world.settle()
        assert world.a.read(X) == b"later"


@in_virtual_time
async def test_a_capture_that_could_not_be_let_go_is_let_go_with_the_next(tmp_path):
    """It was put into the queue before B's, which is what is tried again."""
    async with World(tmp_path) as world:
        await locked(world)
        world.b.gates["apply"] = asyncio.Event()
        world.a.write(X, b"by A")
        await world.until(lambda: world.b.calls["apply"] > 1)
        world.a.failing["release"] = StateError("the disk is full")
        world.b.write(X, b"by B")
        await world.until(lambda: world.coordinator.holds.depth(X) == 1)
        await asyncio.sleep(5)
        del world.a.failing["release"]
        world.b.gates.pop("apply").set()
        await world.until(lambda: world.coordinator.holds.depth(X) == 2)
        world.a.write(X, b"later")
        await world.until(lambda: world.coordinator.holds.depth(X) == 3)
        await asyncio.sleep(1)
        assert world.a.is_released


@in_virtual_time
async def test_a_drain_waits_until_directory_a_is_attached_again(tmp_path):
    """A server that ends takes it away first: that the unlock had stopped would be what the next start finds."""
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1", b"2")
        await world.lose(Role.A)
        unlocking = asyncio.create_task(unlock(world))
        await asyncio.sleep(5)
        assert not unlocking.done()
        assert not world.said(EventName.ERROR)
        world.attach(Role.A)
        assert await unlocking == 2
        assert world.a.read(X) == b"2"


@in_virtual_time
async def test_a_replica_that_refuses_to_be_told_is_no_reason_to_end(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"0")
        await world.start()
        world.b.failing["hold"] = StateError("the disk is full")
        await lock(world)
        del world.b.failing["hold"]
        await asyncio.sleep(1)
        await queued(world, b"1", b"2")
        assert await unlock(world) == 2
        await world.settle()


@in_virtual_time
async def test_an_edit_passes_to_b_while_it_is_being_superseded(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        passing, superseding = asyncio.Event(), asyncio.Event()
        release = world.a.release

        async def release_late(captures):
            superseding.set()
            await asyncio.sleep(5)
            await release(captures)

        world.b.gates["apply"] = passing
        before = world.b.calls["apply"]
        world.a.write(X, b"one")
        await world.until(lambda: world.b.calls["apply"] > before)
        world.a.release = release_late
        world.a.write(X, b"two")
        await superseding.wait()
        passing.set()
        await world.settle()
        assert world.b.read(X) == b"two"


@in_virtual_time
async def test_what_b_held_before_it_was_given_something_says_nothing_about_what_it_holds(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        world.b.gates["reports"] = asyncio.Event()
        world.b.chmod(X, 0o600)
        world.b.chmod(X, 0o644)
        world.a.write(X, b"by A")
        await world.until(lambda: world.b.read(X) == b"by A")
        world.b.gates.pop("reports").set()
        await asyncio.sleep(1)
        assert await unlock(world) == 2
        await world.settle()
        assert world.a.read(X) == world.b.read(X)


@in_virtual_time
async def test_an_edit_right_after_an_apply_is_what_stands_there(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        world.a.gates["applied"] = gate = asyncio.Event()
        views, journal, found = world.coordinator.pair.views, world.coordinator.holds._journal, []
        end = journal.unlock

        async def ending(path):
            found.append(views.get(Role.A, X))
            await end(path)

        journal.unlock = ending
        unlocking = asyncio.create_task(unlock(world))
        await world.until(lambda: world.a.read(X) == b"1")
        world.a.write(X, b"gone on from")
        await world.until(lambda: views.get(Role.A, X).size == len(b"gone on from"))
        edited = views.get(Role.A, X)
        gate.set()
        assert await unlocking == 1
        assert found == [edited]
        await world.settle()
        assert world.b.read(X) == b"gone on from"


@in_virtual_time
async def test_more_updates_than_one_apply_gives(tmp_path):
    async with World(tmp_path) as world:
        await locked(world)
        contents = [b"state %d" % (number % 7) for number in range(100)]
        for content in contents:
            world.b.write(X, content)
        await world.coordinator.wait_in_sync()
        assert world.coordinator.holds.depth(X) == len(contents)
        assert await unlock(world) == len(contents)
        assert applied_contents(world) == contents
        await world.settle()
        remaining = [fields["remaining"] for fields in world.said(EventName.APPLIED, X)]
        assert remaining == list(range(len(contents)))[::-1]


@pytest.mark.faults
@pytest.mark.timeout(600)
@in_virtual_time
async def test_a_queue_of_ten_thousand(memory):
    """It is taken in and applied in order, once each, and another file goes on, both times."""
    async with World(memory, held_bytes_max=10_000_000) as world:
        await locked(world)
        contents = [b"%d" % number for number in range(1, 10_001)]
        for content in contents:
            world.b.write(X, content)
        world.b.write(Y, b"y")
        await world.until(lambda: Y in world.a.tree())
        await world.coordinator.wait_in_sync()
        assert world.coordinator.holds.depth(X) == len(contents)
        unlocking = asyncio.create_task(unlock(world))
        world.b.write(Y, b"y again")
        await world.until(lambda: world.a.read(Y) == b"y again")
        assert await unlocking == len(contents)
        assert applied_contents(world) == contents
        await world.settle()


@in_virtual_time
async def test_a_directory_made_by_a_drain_is_there_though_a_report_from_before_comes_late(tmp_path):
    async with World(tmp_path) as world:
        world.a.mkdir(D)
        await locked(world, at("d/x"))
        await queued(world, b"1", path=at("d/x"))
        world.a.remove(at("d/x"))
        world.a.remove(D)
        await world.until(lambda: world.coordinator.pair.views.get(Role.A, D) is None)
        await world.until(lambda: world.coordinator.holds.depth(at("d/x")) == 2)
        gate = world.a.gates["reports"] = asyncio.Event()
        world.a.mkdir(D)
        world.a.remove(D)
        assert await unlock(world, at("d/x")) == 2
        gate.set()
        await world.settle()
        assert D in world.a.tree()


@pytest.mark.parametrize("is_begun", [False, True], ids=["asked for meanwhile", "under way before"])
@in_virtual_time
async def test_no_drain_gives_anything_while_an_inventory_is_taken(tmp_path, is_begun):
    """Else the inventory, which is of a moment before, would say that somebody had undone it."""
    async with World(tmp_path) as world:
        await locked(world)
        await queued(world, b"1")
        apply = world.a.gates["apply"] = asyncio.Event()
        part = world.a.gates["part"] = asyncio.Event()
        if is_begun:
            unlocking = asyncio.create_task(unlock(world))
            await world.until(lambda: world.a.calls.get("apply"))
        await world.detach(Role.A)
        world.attach(Role.A)
        await asyncio.sleep(10)
        if not is_begun:
            unlocking = asyncio.create_task(unlock(world))
        apply.set()
        await asyncio.sleep(10)
        part.set()
        assert await unlocking == 1
        await world.settle()
        assert world.a.read(X) == b"1"
