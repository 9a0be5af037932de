"""What clients are told: what is known now, in time, and the truth about what could not be asked."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from dirsync.coordinator.journal import Journal
from dirsync.coordinator.requests import ClientRequests
from dirsync.core.entry import Problem, Role
from dirsync.core.events import EventName
from dirsync.core.listing import Standing
from dirsync.core.reports import Change, Failed
from dirsync.errors import Refusal, StateError, Unreachable
from dirsync.limits import LISTING_SECONDS
from dirsync.wire.client_messages import (
    BringBackRequest,
    ListPart,
    ListRequest,
    LockRequest,
    OutputRequest,
    StatusRequest,
    UnlockRequest,
    WaitRequest,
)
from dirsync.wire.replica_messages import HistoryRequest
from tests.support.coordinated import World
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

X, Y, D = at("x"), at("y"), at("d")


class Asked:
    """A world and somebody who asks."""

    def __init__(self, world):
        self.world = world
        self.requests = ClientRequests(world.coordinator, Journal(), b"pair", lambda role: (f"at {role}", f"in {role}"))

    async def listing(self):
        *parts, reply = [part async for part in self.requests.stream(ListRequest())]
        assert all(isinstance(part, ListPart) for part in parts)
        return [row for part in parts for row in part.rows], reply.unreachable


@asynccontextmanager
async def asked(state):
    async with World(state) as world:
        world.a.write(X, b"1")
        world.b.write(Y, b"22")
        world.b.mkdir(D)
        await world.start()
        yield Asked(world)


def names(rows):
    return [row.path for row in rows]


@in_virtual_time
async def test_a_listing_shows_both_directories_and_what_was_changed_just_before(tmp_path):
    async with asked(tmp_path) as ground:
        ground.world.b.write(at("d/new"), b"333")
        rows, unreachable = await ground.listing()
        assert names(rows) == [at("d/new"), X, Y]
        assert unreachable == ()


@in_virtual_time
async def test_a_listing_shows_what_is_being_written(tmp_path):
    async with asked(tmp_path) as ground:
        ground.world.b.unsettled = ((at("half"), Standing(7, 1)),)
        rows, _ = await ground.listing()
        assert at("half") in names(rows)


@pytest.mark.parametrize("how", ["hangs", "lost", "fails"])
@in_virtual_time
async def test_without_b_the_files_of_a_are_listed_in_time(tmp_path, how):
    async with asked(tmp_path) as ground:
        world = ground.world
        world.b.write(at("only b"), b"1")
        await world.until(lambda: at("only b") in world.a.tree())
        if how == "hangs":
            world.b.gates["look"] = asyncio.Event()
        elif how == "lost":
            await world.lose(Role.B)
        else:
            world.b.failing["look"] = StateError("the disk is full")
        since = asyncio.get_running_loop().time()
        rows, unreachable = await ground.listing()
        assert names(rows) == [at("only b"), X, Y]
        assert unreachable == (Role.B,)
        assert asyncio.get_running_loop().time() - since <= LISTING_SECONDS


@in_virtual_time
async def test_a_listing_waits_for_the_first_comparison_of_a(tmp_path):
    async with World(tmp_path) as world:
        world.a.write(X, b"1")
        world.a.gates["snapshot"] = asyncio.Event()
        world.attach(Role.A)
        listing = asyncio.create_task(Asked(world).listing())
        await asyncio.sleep(0.1)
        world.a.gates.pop("snapshot").set()
        rows, unreachable = await listing
        assert names(rows) == [X]
        assert unreachable == (Role.B,)


@in_virtual_time
async def test_a_listing_over_a_first_run_shows_what_is_there_then(tmp_path):
    async with asked(tmp_path) as ground:
        world = ground.world
        world.b.gates["look"] = asyncio.Event()
        listing = asyncio.create_task(ground.listing())
        await asyncio.sleep(0.1)
        await world.lose(Role.B)
        await world.coordinator.first_run(Role.B)
        world.a.write(at("later"), b"1")
        await world.until(lambda: not world.a._reports)
        rows, _ = await listing
        assert at("later") in names(rows)


@in_virtual_time
async def test_what_cannot_be_locked_is_refused_and_says_why(tmp_path):
    async with asked(tmp_path) as ground:
        for path, reason in ((at("none"), "no such file"), (D, "a directory cannot be locked")):
            with pytest.raises(Refusal, match=reason):
                await ground.requests.answer(LockRequest(path))
        assert not list(ground.world.coordinator.holds)


@in_virtual_time
async def test_a_file_that_was_made_just_before_can_be_locked(tmp_path):
    async with asked(tmp_path) as ground:
        ground.world.b.write(at("new"), b"1")
        reply = await ground.requests.answer(LockRequest(at("new")))
        assert not reply.was_locked
        assert (await ground.requests.answer(LockRequest(at("new")))).was_locked


@in_virtual_time
async def test_status_tells_what_is_pending_and_why(tmp_path):
    async with asked(tmp_path) as ground:
        world = ground.world
        status = await ground.requests.answer(StatusRequest())
        assert (status.is_connected, status.is_in_sync, status.pending_count) == (True, True, 0)
        world.b.gives(X, *[Failed("no room")] * 9)
        world.a.write(X, b"new")
        world.b._report(Change(Y, Problem("unreadable")))
        await world.until(lambda: world.said(EventName.ERROR))
        status = await ground.requests.answer(StatusRequest())
        assert not status.is_in_sync
        assert [(pending.path, pending.reason) for pending in status.pending] == [
            (X, "no room"),
            (Y, "at B: unreadable"),
        ]


@in_virtual_time
async def test_who_is_being_compared_is_connected(tmp_path):
    async with asked(tmp_path) as ground:
        world = ground.world
        await world.detach(Role.B)
        world.b.gates["snapshot"] = asyncio.Event()
        world.attach(Role.B)
        await world.until(lambda: Role.B in world.coordinator.replicas)
        status = await ground.requests.answer(StatusRequest())
        assert (status.is_connected, status.is_in_sync) == (True, False)
        reply = await ground.requests.answer(WaitRequest(0.5))
        assert reply.reasons == ("server B is being compared",)


@in_virtual_time
@pytest.mark.parametrize("role", Role)
async def test_who_takes_long_to_look_is_busy_and_who_is_away_unreachable(tmp_path, role):
    async with asked(tmp_path) as ground:
        world = ground.world
        world.a.write(X, b"four")
        await world.settle()
        status = await ground.requests.answer(StatusRequest())
        counts = {server.role: (server.files, server.size) for server in status.servers}
        world.replicas[role].gates["look"] = asyncio.Event()
        status = await ground.requests.answer(StatusRequest())
        states = {server.role: (server.state, server.files, server.size) for server in status.servers}
        assert states == {role: ("busy", *counts[role]), role.other: ("ready", *counts[role.other])}
        world.replicas[role].gates["look"].set()
        await world.detach(Role.B)
        status = await ground.requests.answer(StatusRequest())
        assert [server.state for server in status.servers] == ["ready", "unreachable"]


@in_virtual_time
async def test_what_lies_below_what_cannot_be_read_waits_with_its_reason(tmp_path):
    async with asked(tmp_path) as ground:
        world = ground.world
        world.b._report(Change(D, Problem("gone")))
        world.a.write(at("d/new"), b"new")
        await world.a.look(is_full=False)
        status = await ground.requests.answer(StatusRequest())
        assert [(pending.path, pending.reason) for pending in status.pending] == [
            (D, "at B: gone"),
            (at("d/new"), "at B: gone"),
        ]


@in_virtual_time
async def test_waiting_in_vain_tells_why(tmp_path):
    async with asked(tmp_path) as ground:
        assert (await ground.requests.answer(WaitRequest(5))).is_in_sync
        await ground.world.lose(Role.B)
        ground.world.a.write(X, b"new")
        reply = await ground.requests.answer(WaitRequest(5))
        assert (reply.is_in_sync, reply.reasons) == (False, ("server B is not connected", "x: waits for server B"))
        ground.world.b.lose_root("it is gone")
        ground.world.attach(Role.B)
        reply = await ground.requests.answer(WaitRequest(5))
        assert reply.reasons[0] == "server B is paused: it is gone"


@in_virtual_time
async def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(tmp_path):
    async with asked(tmp_path) as ground:
        await ground.world.lose(Role.B)
        waiting = asyncio.create_task(ground.requests.answer(WaitRequest(-1)))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        ground.world.attach(Role.B)
        await ground.world.settle()


@in_virtual_time
async def test_versions_of_both_servers_are_found_and_brought_back(tmp_path):
    async with asked(tmp_path) as ground:
        world = ground.world
        world.a.write(X, b"2")
        await world.settle()
        history = await ground.requests.answer(HistoryRequest(X))
        (version,) = history.versions
        assert (version.role, history.unreachable) == (Role.B, ())
        parts = [part async for part in ground.requests.stream(OutputRequest(X, version.id, None))]
        assert b"".join(part.data for part in parts[:-1]) == b"1"
        await ground.requests.answer(BringBackRequest(X, "", None))
        await world.settle()
        assert world.a.read(X) == b"1"
        with pytest.raises(Refusal, match="no version nonsense of x"):
            await ground.requests.answer(BringBackRequest(X, "nonsense", None))


@in_virtual_time
async def test_history_without_b_says_that_it_was_not_asked(tmp_path):
    async with asked(tmp_path) as ground:
        await ground.world.lose(Role.B)
        assert (await ground.requests.answer(HistoryRequest(X))).unreachable == (Role.B,)
        with pytest.raises(Refusal, match="server B could not be asked"):
            await ground.requests.answer(BringBackRequest(X, "", None))
        with pytest.raises(Unreachable):
            ground.requests._replica(Role.B)


@in_virtual_time
async def test_who_locks_again_while_an_unlock_still_looks_has_the_last_word(tmp_path):
    async with asked(tmp_path) as ground:
        requests, b = ground.requests, ground.world.b
        await requests.answer(LockRequest(X))
        b.write(X, b"from b")
        await ground.world.until(lambda: ground.world.coordinator.holds.depth(X) == 1)
        looking = asyncio.Event()
        b.gates["look"] = looking
        unlocking = asyncio.create_task(requests.answer(UnlockRequest(X)))
        await asyncio.sleep(0.1)
        assert (await requests.answer(LockRequest(X))).was_locked
        looking.set()
        with pytest.raises(Refusal, match="locked again"):
            await unlocking
        assert ground.world.a.read(X) == b"1"
        assert (await requests.answer(UnlockRequest(X))).applied == 1
