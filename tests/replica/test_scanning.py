"""The background scan: what it finds that no watcher hinted at, how often it runs, and what it may cost."""

import asyncio
import mmap
import os
from types import SimpleNamespace

import pytest

from dirsync.core.entry import File
from dirsync.disk.scan import Scan
from dirsync.errors import RootLost
from dirsync.limits import SCAN_DURATION_FACTOR, SCAN_DURATION_FACTOR_BLIND, SCAN_INTERVAL_SECONDS
from dirsync.replica import watching
from dirsync.replica.scanning import Scanning
from tests.replica.local_ground import local_ground, rel
from tests.support.virtual_time import run

FOR_EVER = 1e9


class World:
    """A site whose scans take `cost` seconds of virtual time, and a watcher that proves itself, or does not."""

    def __init__(self, cost):
        self.cost = cost
        self.is_proving = True
        self.has_gaps = False
        self.scans = []
        self.restarts = 0
        self.lost = []
        self.proofs = 0
        self.ground = SimpleNamespace(root=None)
        self.is_lost = False
        self.directory = "/d"
        self.index = SimpleNamespace(known=None)
        self.rules = SimpleNamespace(ignores=None)
        self.threads = self
        self.database = None
        self.taken = 0

    async def record(self, _call):
        """Note what is mounted where; nothing is."""

    async def bulk(self, _call):
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(self.cost)
        self.scans.append((begin, asyncio.get_running_loop().time()))
        return Scan()

    async def barrier(self):
        self.proofs += 1
        if not self.is_proving:
            await asyncio.sleep(1)
        return self.is_proving

    async def restart(self):
        self.restarts += 1

    def take_scan(self, _found):
        self.taken += 1

    def recheck_oddities(self, _found):
        pass

    def pauses(self):
        return [begin - end for (_, end), (begin, _) in zip(self.scans, self.scans[1:], strict=False)]

    async def live(self, seconds, meanwhile=None):
        scans = Scanning(self, self, self, self.lost.append)
        await scans.first()
        running = asyncio.create_task(scans.run())
        if meanwhile is not None:
            await meanwhile(scans)
        await asyncio.sleep(seconds)
        running.cancel()


def test_a_scan_that_was_held_up_does_not_put_off_the_next_by_hours():
    world = World(0.001)

    async def hold_up_one(_scans):
        world.cost = 20.0
        while len(world.scans) < 2:
            await asyncio.sleep(1)
        world.cost = 0.001

    run(world.live(30, hold_up_one))
    assert len(world.scans) > 5


@pytest.mark.parametrize("cost", [0.0001, 0.005, 0.05, 1.0, 20.0])
@pytest.mark.parametrize("is_proving", [True, False])
def test_the_background_scan_keeps_its_bound(cost, is_proving):
    world = World(cost)
    world.is_proving = is_proving
    factor = SCAN_DURATION_FACTOR if is_proving else SCAN_DURATION_FACTOR_BLIND
    due = max(SCAN_INTERVAL_SECONDS, factor * cost)
    lasting = 40 * (due + cost + 2)
    run(world.live(lasting), FOR_EVER)
    # A mark that does not come by takes a second to be given up.
    pauses = world.pauses()
    if not is_proving:
        assert pauses.pop(0) <= 2.1, "a watcher that falls silent is scanned after at once"
    assert len(pauses) >= 37
    assert all(due - 1e-6 <= pause <= due + 1.1 for pause in pauses), (due, pauses[:5])
    assert sum(end - begin for begin, end in world.scans) <= lasting / factor + 2 * cost
    assert (world.restarts > 0) is not is_proving


def test_a_watcher_that_falls_silent_is_scanned_after_more_often_and_built_anew():
    world = World(1.0)

    async def fall_silent(_scans):
        await asyncio.sleep(2_000)
        world.is_proving = False
        await asyncio.sleep(1_000)
        world.is_proving = True

    run(world.live(2_000, fall_silent), FOR_EVER)
    assert world.restarts > 0
    assert {round(pause) for pause in world.pauses()} <= {500, 2, 101, 100}, world.pauses()
    assert [round(pause) for pause in world.pauses()][-1] == 500


def test_a_watcher_with_gaps_is_scanned_after_more_often_though_it_is_alive():
    world = World(1.0)
    world.has_gaps = True
    run(world.live(1_000))
    assert {round(pause) for pause in world.pauses()} == {100}


def test_whoever_looks_waits_for_a_silent_watcher_only_once():
    world = World(0.01)
    world.is_proving = False

    async def look():
        scans = Scanning(world, world, world, world.lost.append)
        for _ in range(10):
            assert not await scans.is_watched()

    run(look())
    assert world.proofs == 1


def test_lost_hints_are_scanned_after_at_once():
    world = World(1.0)

    async def lose_hints(scans):
        await asyncio.sleep(10)
        scans.want()

    run(world.live(100, lose_hints))
    assert [round(pause) for pause in world.pauses()] == [10]


def test_a_scan_of_a_directory_that_was_lost_meanwhile_counts_for_nothing():
    world = World(1.0)

    async def lose():
        scans = Scanning(world, world, world, world.lost.append)
        running = asyncio.create_task(scans.full())
        await asyncio.sleep(0.5)
        world.ground = SimpleNamespace(root=None)  # lost, and there again
        with pytest.raises(RootLost):
            await running

    run(lose())
    assert (world.taken, world.lost) == (0, [])


async def test_a_change_that_leaves_no_event_is_found_by_the_scan_and_counted(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("m", b"old content")
        await ground.until("m", File)
        with open(ground.path("m"), "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
            # The descriptor stays open, so that not even the end of the writing is an event.
            view[:3] = b"NEW"
            look = await ground.replica.look(is_full=False)
            assert look.found_by_scan == 0
            while look.found_by_scan == 0:
                look = await ground.replica.look(is_full=True)
            assert look.found_by_scan == 1
        await ground.until("m", File)


async def test_what_the_watcher_hinted_at_is_not_the_scans_find(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_MARK_SECONDS", 60.0)  # a busy machine may need more than the usual second
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "before").write_text("1")
    async with local_ground(tmp_path) as ground:
        for number in range(50):
            ground.write(f"d{number % 5}/f{number}", b"%d" % number)
            os.chmod(ground.path(f"d{number % 5}/f{number}"), 0o600)
            look = await ground.replica.look(is_full=True)
            assert rel(f"d{number % 5}/f{number}") in ground.replica._site.index.known
        assert look.found_by_scan == 0
