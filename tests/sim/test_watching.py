"""The simulated watcher: what it says, what it leaves out, and what it never does."""

import asyncio
import random

import pytest

from dirsync.disk.hints import Hints
from dirsync.disk.watch import Watcher
from tests.sim.person import Person
from tests.sim.watching import WatchFaults, watcher_class
from tests.support.virtual_time import in_virtual_time


class Watched:
    """A directory at machine a, a person in it, and everything that was hinted at."""

    def __init__(self, disk, machine, **faults):
        self.person = Person(disk, b"/sim/a/root", random.Random(1))
        self.person.mkdir(b"")
        disk.make_directory(machine.file_systems[0].root, b"state")
        self.faults = WatchFaults(**faults)
        self.said = []
        self.watcher = watcher_class(disk, random.Random(2), self.faults)(
            "/sim/a/root", "/sim/a/state/watch", self.said.append, self.said.append
        )

    async def hints(self):
        """Return everything said so far, as one."""
        await asyncio.sleep(1)
        result = Hints()
        for hints in self.said:
            result.paths |= hints.paths
            result.written |= hints.written
            result.trees |= hints.trees
            result.marks |= hints.marks
            result.is_scan_needed |= hints.is_scan_needed
        self.said.clear()
        return result


def test_it_can_be_asked_whatever_the_real_one_can(disk):
    wanted = {name for name in vars(Watcher) if not name.startswith("_")}
    assert wanted <= set(dir(watcher_class(disk, random.Random(1), WatchFaults())))


@in_virtual_time
async def test_changes_are_hinted_at(disk, machine):
    watched = Watched(disk, machine)
    person = watched.person
    person.mkdir(b"old")
    watched.watcher.start()
    person.write(b"f", b"1")
    person.write(b"old/g", b"1")
    person.mkdir(b"new")
    person.write(b"new/h", b"1")
    watched.watcher.mark(b"m")
    hints = await watched.hints()
    assert hints == Hints({b"f", b"old/g", b"new"}, {b"new"}, {b"m"}, written={b"f", b"old/g"})
    person.write(b"new/h", b"2")
    assert (await watched.hints()).paths == {b"new/h"}


@in_virtual_time
async def test_a_moved_directory_reports_under_its_new_name(disk, machine):
    watched = Watched(disk, machine)
    person = watched.person
    person.mkdir(b"one")
    person.mkdir(b"one/below")
    watched.watcher.start()
    person.rename(b"one", b"two")
    hints = await watched.hints()
    assert (hints.paths, hints.trees) == ({b"one", b"two"}, {b"two"})
    person.write(b"two/below/f", b"1")
    assert (await watched.hints()).paths == {b"two/below/f"}


@in_virtual_time
async def test_the_directory_itself_is_hinted_at(disk, machine):
    watched = Watched(disk, machine)
    watched.watcher.start()
    Person(disk, b"/sim/a", random.Random(1)).rename(b"root", b"elsewhere")
    assert b"" in (await watched.hints()).paths


@pytest.mark.parametrize("is_telling", [True, False])
@in_virtual_time
async def test_an_overflow_is_told_by_inotify_only(disk, machine, is_telling):
    watched = Watched(disk, machine, is_telling=is_telling, queue_max=3)
    watched.watcher.start()
    for number in range(20):
        watched.person.write(b"f%d" % number, b"1")
    hints = await watched.hints()
    assert hints.is_scan_needed is is_telling
    assert len(hints.paths) < 20


@in_virtual_time
async def test_events_are_lost_but_marks_keep_their_place(disk, machine):
    watched = Watched(disk, machine, lost=0.5, doubled=0.5, is_reordered=True, is_telling=False)
    watched.watcher.start()
    for number in range(20):
        watched.person.write(b"f%d" % number, b"")
    watched.watcher.mark(b"m")
    await asyncio.sleep(0)
    watched.person.write(b"late", b"1")
    hints = await watched.hints()
    assert 0 < len(hints.paths) < 21
    assert hints.marks == {b"m"}


@in_virtual_time
async def test_a_mapped_write_a_silent_watcher_and_a_stopped_one_say_nothing(disk, machine):
    watched = Watched(disk, machine)
    watched.person.write(b"f", b"1")
    watched.watcher.start()
    watched.person.store(b"f", b"2")
    watched.faults.is_silent = True
    watched.watcher.mark(b"m")
    watched.person.write(b"f", b"3")
    assert await watched.hints() == Hints()
    watched.faults.is_silent = False
    watched.watcher.stop()
    watched.person.write(b"f", b"4")
    assert await watched.hints() == Hints()


def test_it_has_everything_that_the_real_one_has():
    real = {name for name in vars(Watcher) if not name.startswith("_")}
    assert real <= set(dir(watcher_class(None, random.Random(1), WatchFaults())))
