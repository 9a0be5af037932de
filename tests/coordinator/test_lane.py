"""What lanes do with results, failures, large contents, and replicas that go away in the middle."""

import asyncio
import itertools

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.reports import Change, Failed, Missing
from dirsync.errors import DiskError, Refusal, RemoteProtocolError, RootLost, StateError, Unreachable
from dirsync.limits import BATCH_BYTES_MAX, RETRY_MAX_SECONDS
from dirsync.replica.weights import weight_of_step
from tests.support.coordinated import World
from tests.support.trees import at
from tests.support.virtual_time import in_virtual_time

X, Y, LARGE, HUGE = at("x"), at("y"), at("large"), at("huge")
_LARGE = b"l" * 100_000
_HUGE = b"h" * 2_000_000
METHODS = ["apply", "fetch", "supply", "chunk", "stage", "put", "look", "reports", "snapshot", "hold"]


class TestFailures:
    @in_virtual_time
    async def test_a_file_that_fails_holds_up_no_other_and_heals(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gives(X, *[Failed("no room")] * 8)
            world.a.write(X, b"x")
            world.a.write(Y, b"y")
            await world.until(lambda: world.b.read(Y) == b"y")
            assert world.said(EventName.ERROR, X) == [{"reason": "no room"}]
            assert X not in world.b.tree()
            await world.settle()
            assert world.said(EventName.ERROR) == [{"reason": "no room"}]
            assert not world.coordinator.pair.troubles

    @pytest.mark.parametrize(("tries", "told"), [(1, 0), (2, 1), (5, 1)])
    @in_virtual_time
    async def test_what_may_pass_by_itself_is_told_only_where_it_goes_on(self, tmp_path, tries, told):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gives(X, *[Failed("the directory is not empty", is_passing=True)] * tries)
            world.a.write(X, b"x")
            await world.settle()
            assert world.b.read(X) == b"x"
            assert world.said(EventName.ERROR) == [{"reason": "the directory is not empty"}] * told

    @in_virtual_time
    async def test_the_time_to_the_next_try_doubles_up_to_its_bound(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            loop, times = asyncio.get_running_loop(), []
            world.b.gives(X, *[Failed("no room")] * 10)
            planned = world.b._apply

            def apply(step):
                times.append(loop.time())
                return planned(step)

            world.b._apply = apply
            world.a.write(X, b"x")
            await world.settle()
            delays = [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]
            assert delays[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, RETRY_MAX_SECONDS]
            assert set(delays[7:]) == {RETRY_MAX_SECONDS}

    @in_virtual_time
    async def test_a_new_state_is_tried_at_once(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gives(X, *[Failed("no room")] * 7)
            world.a.write(X, b"x")
            await world.until(lambda: len(world.b.steps_for(X)) == 7)
            since = asyncio.get_running_loop().time()
            world.a.write(X, b"shorter")
            await world.until(lambda: X in world.b.tree())
            assert asyncio.get_running_loop().time() - since < 1

    @in_virtual_time
    async def test_a_surprise_is_planned_anew(self, tmp_path):
        async with World(tmp_path) as world:
            world.b.write(X, b"1")
            await world.start()
            old = world.b._tree[X].entry
            world.b._clock_ns += 10**9
            world.b.gates["reports"] = asyncio.Event()
            world.b.write(X, b"newer, not reported yet")
            world.a.write(X, b"2")
            await world.until(lambda: world.b.steps_for(X))
            assert world.b.steps_for(X)[0].action.expected == old
            world.b.gates.pop("reports").set()
            await world.settle()
            assert world.a.read(X) == b"newer, not reported yet"
            assert not world.said(EventName.ERROR)
            assert [fields["winner"] for fields in world.said(EventName.CONFLICT, X)] == ["b"]

    @in_virtual_time
    async def test_a_plan_that_a_report_overtakes_is_no_failure(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gates["apply"] = asyncio.Event()
            world.a.write(X, b"1")
            await world.until(lambda: world.coordinator.pair.is_busy(X))
            world.b._clock_ns += 10**9
            world.b.write(X, b"written at the other side meanwhile")
            await world.until(lambda: world.coordinator.pair.views.get(Role.B, X) is not None)
            world.b.gates.pop("apply").set()
            await world.settle()
            assert world.a.read(X) == b"written at the other side meanwhile"
            assert not world.said(EventName.ERROR)

    @pytest.mark.parametrize("is_during", [False, True], ids=["after the result", "before the result"])
    @in_virtual_time
    async def test_a_report_made_before_an_apply_and_taken_late_is_old(self, tmp_path, is_during):
        async with World(tmp_path) as world:
            world.b.write(X, b"1")
            await world.start()
            world.b.gates["reports"] = asyncio.Event()
            world.b._report(Change(X, world.b._tree[X].entry))
            world.b.gates["applied"] = asyncio.Event()
            world.a.write(X, b"2")
            await world.until(lambda: world.b.read(X) == b"2")
            for gate in ("reports", "applied") if is_during else ("applied", "reports"):
                world.b.gates.pop(gate).set()
                await asyncio.sleep(1)
            await world.settle()
            assert world.b.read(X) == b"2"
            assert world.coordinator.is_in_sync
            assert not world.said(EventName.ERROR)
            assert not world.a.fetched

    @in_virtual_time
    async def test_what_a_refusal_found_does_not_count_where_a_later_report_came_before_it(self, tmp_path):
        async with World(tmp_path) as world:
            world.b.write(X, b"1")
            await world.start()
            world.b._clock_ns += 10**9
            world.b.gates |= {"reports": asyncio.Event(), "applied": asyncio.Event()}
            world.b.write(X, b"what the apply finds")
            world.a.write(X, b"2")
            await world.until(lambda: world.b.steps_for(X))
            world.b.write(X, b"what is written after it")
            for gate in ("reports", "applied"):
                world.b.gates.pop(gate).set()
                await asyncio.sleep(1)
            await world.settle()
            assert world.a.read(X) == b"what is written after it"
            assert not world.said(EventName.ERROR)

    @pytest.mark.parametrize("method", ["apply", "fetch", "stage", "put", "supply"])
    @pytest.mark.parametrize(
        "error", [Unreachable, RootLost, Refusal, RemoteProtocolError, StateError, DiskError], ids=lambda e: e.__name__
    )
    @in_virtual_time
    async def test_whatever_a_replica_raises_the_server_lives_and_tries_again_later(self, tmp_path, method, error):
        async with World(tmp_path) as world:
            await world.start()
            replica = world.a if method in ("fetch", "supply") else world.b
            replica.failing[method] = error("not now")
            before = replica.calls.get(method, 0)
            world.a.write(X, b"x")
            world.a.write(LARGE, _LARGE)
            world.a._reports[0] = Change(X, world.a._tree[X].entry)  # its content has to be fetched
            await asyncio.sleep(60)
            assert 2 <= replica.calls[method] - before < 30
            assert len(world.said(EventName.ERROR)) <= 2
            del replica.failing[method]
            await world.settle()

    @in_virtual_time
    async def test_a_content_that_changed_meanwhile_is_no_error(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gates["put"] = asyncio.Event()
            world.a.write(LARGE, _LARGE)
            await world.until(lambda: world.b.calls.get("put"))
            world.a.write(LARGE, _LARGE + b"more")
            world.b.gates.pop("put").set()
            await world.settle()
            assert not world.said(EventName.ERROR)


class TestContents:
    @in_virtual_time
    async def test_a_batch_is_one_message(self, tmp_path, monkeypatch):
        async with World(tmp_path) as world:
            paths = [at(f"{number:03}") for number in range(250)]
            for number, path in enumerate(paths):
                world.a.write(path, bytes([number]) * 8_300)
            weights, apply = [], world.b.apply

            async def weighed(steps):
                weights.append(sum(map(weight_of_step, steps)))
                return await apply(steps)

            monkeypatch.setattr(world.b, "apply", weighed)
            await world.start()
            await world.settle()
            assert len(world.b.tree()) == 250
            assert max(weights) <= BATCH_BYTES_MAX
            assert len(weights) == -(-sum(weights) // BATCH_BYTES_MAX)

    @in_virtual_time
    async def test_what_the_target_has_is_not_sent(self, tmp_path):
        async with World(tmp_path) as world:
            world.a.write(X, b"x")
            world.a.write(LARGE, _LARGE)
            await world.start()
            world.a.fetched.clear()
            world.a.supplied = 0
            world.a.write(Y, b"x")
            world.a._reports[-1] = Change(Y, world.a._tree[Y].entry)
            world.b._staged.clear()
            await world.settle()
            assert world.b.steps_for(Y)[-1].content is None
            assert not world.a.fetched

    @in_virtual_time
    async def test_what_the_target_turns_out_to_lack_is_sent(self, tmp_path):
        async with World(tmp_path) as world:
            world.a.write(X, b"x")
            await world.start()
            world.b.gives(Y, Missing(world.a._tree[X].entry.digest))
            world.a.write(Y, b"x")
            await world.settle()
            assert [step.content for step in world.b.steps_for(Y)] == [None, b"x"]
            assert not world.said(EventName.ERROR)

    @in_virtual_time
    async def test_a_content_that_is_missing_again_and_again_is_put_off(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.a.write(X, b"x")
            world.b.gives(X, *[Missing(world.a._tree[X].entry.digest)] * 6)
            await asyncio.sleep(0.2)
            assert len(world.b.steps_for(X)) == 2
            await world.settle()
            assert len(world.said(EventName.ERROR, X)) == 1

    @in_virtual_time
    async def test_a_large_content_goes_beside_small_ones_and_says_how_far_it_is(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            gate = world.a.gates["chunk"] = asyncio.Event()
            world.a.write(LARGE, _LARGE)
            await world.until(lambda: world.a.calls.get("chunk"))
            world.a.write(X, b"x")
            await world.until(lambda: X in world.b.tree())
            await asyncio.sleep(2)
            gate.set()
            await world.settle()
            assert world.said(EventName.PROGRESS, LARGE) == [{"done": 0, "size": len(_LARGE)}]

    @in_virtual_time
    async def test_a_content_does_not_wait_for_much_larger_ones(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            slow = asyncio.Event()
            supply = world.a.supply

            async def slowly(ref, offset):
                if ref.entry.size >= len(_HUGE):
                    await slow.wait()
                async for chunk in supply(ref, offset):
                    yield chunk

            world.a.supply = slowly
            for number in range(6):
                world.a.write(at(f"huge{number}"), _HUGE + b"%d" % number)
            await asyncio.sleep(1)
            world.a.write(LARGE, _LARGE)
            await world.until(lambda: LARGE in world.b.tree())
            slow.set()
            await world.settle()

    @in_virtual_time
    async def test_transfers_at_a_time_are_bounded(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.a.gates["chunk"] = asyncio.Event()
            for number in range(20):
                world.a.write(at(f"large{number}"), _LARGE + b"%d" % number)
            await asyncio.sleep(1)
            assert world.b.calls["put"] <= 4
            world.a.gates.pop("chunk").set()
            await world.settle()


class TestClosing:
    @pytest.mark.parametrize("lost", Role)
    @pytest.mark.parametrize("method", METHODS)
    @in_virtual_time
    async def test_a_replica_lost_in_the_middle_of_anything(self, tmp_path, method, lost):
        """Whatever waits for a replica then, nothing stays busy, and all is well when it is back."""
        async with World(tmp_path) as world:
            world.b.write(Y, b"y")
            await world.start()
            for replica in world.replicas.values():
                replica.gates[method] = asyncio.Event()
            world.a.write(X, b"x")
            world.a._reports[-1] = Change(X, world.a._tree[X].entry)
            world.a.write(LARGE, _LARGE)
            world.b.write(HUGE, _HUGE)
            world.b.remove(Y)
            await asyncio.sleep(1)
            await world.lose(lost) if method != "reports" else await world.detach(lost)
            for replica in world.replicas.values():
                replica.gates.pop(method).set()
            await asyncio.sleep(1)
            assert world.coordinator.pair._busy == {}
            world.attach(lost)
            await world.settle()
            assert set(world.a.tree()) == {X, LARGE, HUGE}

    @in_virtual_time
    async def test_closed_in_the_very_moment_a_transfer_ends(self, tmp_path):
        """Its action is told of once: by the transfer, or by the close."""
        async with World(tmp_path) as world:
            await world.start()
            put = world.b.put

            async def put_and_close(*arguments):
                is_good = await put(*arguments)
                asyncio.get_running_loop().call_soon(world.coordinator._pause, Role.B, "gone")
                return is_good

            world.b.put = put_and_close
            world.a.write(LARGE, _LARGE)
            await asyncio.sleep(1)
            assert world.coordinator.paused
            assert world.coordinator.pair._busy == {}

    @in_virtual_time
    async def test_what_was_applied_in_time_is_known_though_the_other_replica_is_gone(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.a.gates["apply"] = asyncio.Event()
            world.b.write(X, b"x")
            await world.until(lambda: world.a.calls.get("apply"))
            await world.lose(Role.B)
            world.a.gates.pop("apply").set()
            await world.until(lambda: X in world.a.tree())
            world.attach(Role.B)
            await world.settle()
            assert not world.said(EventName.CONFLICT)
            assert not world.said(EventName.ERROR)

    @in_virtual_time
    async def test_nothing_is_retried_hot_while_one_of_two_connections_is_gone(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.failing["put"] = Unreachable("the bulk connection was lost")
            world.a.write(LARGE, _LARGE)
            await asyncio.sleep(10)
            assert world.b.calls["put"] < 10

    @in_virtual_time
    async def test_a_reconnect_tries_at_once_what_had_failed(self, tmp_path):
        async with World(tmp_path) as world:
            await world.start()
            world.b.gives(X, *[Failed("no room")] * 7)
            world.a.write(X, b"x")
            await world.until(lambda: len(world.b.steps_for(X)) == 7)
            await world.lose(Role.B)
            since = asyncio.get_running_loop().time()
            world.attach(Role.B)
            await world.settle()
            assert asyncio.get_running_loop().time() - since < 1
