"""The power cut, against what was measured on ext4 and XFS: what must be there, what may be, what never is."""

import random

import pytest

from tests.sim.calls import SimOS
from tests.sim.disk import SimDisk, running
from tests.sim.person import Person
from tests.sim.power import WRITTEN_SECONDS, power_cut

OLD, NEW = b"o" * 3_000, b"n" * 6_000
SEEDS = range(150)


def machines(clock):
    """Yield each seed with a fresh machine and a person who works there."""
    for seed in SEEDS:
        disk = SimDisk(clock)
        yield seed, disk.machine("a"), Person(disk, b"/sim/a", random.Random(seed))


class Cuts:
    """A scenario on a fresh disk for each seed, then a cut; every outcome is collected."""

    def __init__(self, clock):
        self._clock = clock
        self.outcomes = set()

    def run(self, scenario, path=b"f"):
        """Return what is found at `path` after each cut: contents, or None where nothing is."""
        for seed, machine, person in machines(self._clock):
            person.write(b"f", OLD)
            machine.file_systems[0].sync()
            scenario(person, SimOS(machine.disk, random.Random(seed)))
            power_cut(machine, random.Random(seed))
            assert not machine.disk.descriptors
            self.outcomes.add(person.read(path))
        return self.outcomes


@pytest.fixture
def cuts(clock):
    return Cuts(clock)


def _sync_directory(system, path=b"/sim/a"):
    number = system.open(path, 0)
    system.fsync(number)
    system.close(number)


def _save(person, *, is_synced):
    for _ in person.save_by_rename(b"f", NEW, b"t", is_synced=is_synced):
        pass


def test_synced_content_and_name_are_there(cuts):
    def scenario(person, system):
        _save(person, is_synced=True)
        _sync_directory(system)

    assert cuts.run(scenario) == {NEW}


def test_without_a_sync_of_the_directory_it_is_the_old_or_the_new(cuts):
    assert cuts.run(lambda person, _: _save(person, is_synced=True)) == {OLD, NEW}


def test_a_replacement_that_was_not_synced_may_be_empty(cuts):
    assert {OLD, NEW, b""} <= cuts.run(lambda person, _: _save(person, is_synced=False))


def test_a_new_name_of_what_was_not_synced_may_be_empty_or_missing(cuts):
    def scenario(person, _):
        person.write(b"t", NEW)
        person.rename(b"t", b"g")

    assert {None, NEW, b""} <= cuts.run(scenario, b"g")


def test_a_content_without_a_sync_may_be_empty_although_its_name_was_synced(cuts):
    def scenario(person, system):
        person.write(b"g", NEW)
        _sync_directory(system)

    assert {NEW, b""} <= cuts.run(scenario, b"g")
    assert None not in cuts.outcomes


def test_a_deletion_is_durable_with_its_directory_only(cuts):
    assert cuts.run(lambda person, _: person.delete(b"f")) == {OLD, None}


def test_a_deletion_with_its_directory_is_durable(cuts):
    def scenario(person, system):
        person.delete(b"f")
        _sync_directory(system)

    assert cuts.run(scenario) == {None}


def test_truncating_and_writing_gives_the_old_an_empty_or_the_new_or_zeros_in_its_place(cuts):
    found = cuts.run(lambda person, _: person.write(b"f", NEW))
    head, rest = NEW[:4096], NEW[4096:]
    zeroed = {bytes(4096) + rest, head + bytes(len(rest)), bytes(len(NEW))}
    assert {OLD, b"", NEW, *zeroed} <= found
    assert found <= {OLD, b"", NEW, head, *zeroed}


def test_what_was_appended_may_be_zeros_but_what_stood_before_it_stands(cuts):
    found = cuts.run(lambda person, _: person.append(b"f", NEW))
    assert any(0 in content for content in found)
    assert all(content.startswith(OLD) for content in found)


def test_a_failed_sync_makes_nothing_durable_and_no_later_one_helps(cuts):
    def scenario(person, system):
        person.write(b"g", NEW)
        number = system.open(b"/sim/a/g", 0)
        node = system.disk.file(number).node
        process = system.disk.machines["a"].process("server")

        def fail(*_):
            raise OSError(5, "")

        system.disk.before_call = fail
        token = running.set(process)
        with pytest.raises(OSError, match="5"):
            system.fsync(number)
        running.reset(token)
        assert node.is_unwritable
        system.fsync(number)
        system.close(number)
        _sync_directory(system)

    assert b"" in cuts.run(scenario, b"g")


def test_a_rename_is_one(clock):
    """Across directories too: the file has one of its names, never none and never both."""

    def scenario(person, _):
        person.mkdir(b"d")
        person.rename(b"f", b"d/g")

    for seed, machine, person in machines(clock):
        person.write(b"f", OLD)
        machine.file_systems[0].sync()
        scenario(person, None)
        power_cut(machine, random.Random(seed))
        assert [person.read(b"f"), person.read(b"d/g")].count(OLD) == 1


def test_an_exchange_is_one_and_what_follows_rests_on_it(clock):
    """A file that is exchanged out and then moved elsewhere is at one of its three places, whatever was synced."""
    places = set()
    for seed, machine, person in machines(clock):
        disk, system = machine.disk, SimOS(machine.disk, random.Random(seed))
        person.mkdir(b"staging")
        person.mkdir(b"kept")
        person.write(b"f", OLD)
        person.write(b"staging/s", NEW)
        machine.file_systems[0].sync()
        system.rename_at((disk.root, b"/sim/a/f"), (disk.root, b"/sim/a/staging/s"), 2)
        person.rename(b"staging/s", b"kept/k")
        if seed % 2:
            _sync_directory(system, b"/sim/a/kept")
        power_cut(machine, random.Random(seed))
        found = [path for path in (b"f", b"staging/s", b"kept/k") if person.read(path) == OLD]
        assert len(found) == 1
        places.add((seed % 2, *found))
        assert person.read(b"f") == (OLD if found == [b"f"] else NEW)
    assert places == {(0, b"f"), (0, b"staging/s"), (0, b"kept/k"), (1, b"kept/k")}


def test_a_sync_of_the_file_system_covers_everything(cuts):
    def scenario(person, system):
        _save(person, is_synced=False)
        number = system.open(b"/sim/a", 0)
        system.disk.file(number).node.fs.sync()
        system.close(number)

    assert cuts.run(scenario) == {NEW}


def test_the_kernel_writes_out_by_itself_after_a_while(cuts, clock):
    def scenario(person, _):
        _save(person, is_synced=False)
        clock.ns += (WRITTEN_SECONDS + 1) * 1_000_000_000

    assert cuts.run(scenario) == {NEW}


def test_who_keeps_the_books_is_told_what_people_lost(clock):
    found = set()
    for seed, machine, person in machines(clock):
        person.write(b"f", b"1")
        with machine.process("server").running():
            person.write(b"g", b"2")
        found.add(power_cut(machine, random.Random(seed)).lost)
    assert found == {frozenset(), frozenset({b"1"})}


def test_people_lose_also_what_only_a_copy_of_the_product_still_holds(clock):
    found = set()
    for seed, machine, person in machines(clock):
        with machine.process("server").running():
            person.write(b"copy", b"1")
        machine.file_systems[0].sync()
        person.write(b"f", b"1")
        lost = power_cut(machine, random.Random(seed)).lost
        assert person.read(b"copy") == b"1"
        assert lost == (frozenset() if person.read(b"f") == b"1" else {b"1"})
        found.add(lost)
    assert len(found) == 2


def test_what_was_killed_or_cut_off_has_nothing_open(disk, machine):
    system = SimOS(disk, random.Random(1))
    one, two = machine.process("one"), machine.process("two")
    with one.running():
        system.open(b"/sim/a/f", 0o100 | 1)
    with two.running():
        system.open(b"/sim/a/g", 0o100 | 1)
    assert len(disk.descriptors) == 2
    disk.kill(one)
    assert [file.owner for file in disk.descriptors.values()] == [two]
    assert disk.find(b"/sim/a/f").writers == 0
    power_cut(machine, random.Random(1))
    assert not disk.descriptors
    assert two.is_killed
