"""An apply is ended at every one of its system calls, by a kill and by power cuts; then the server starts again.

Whatever the moment: what stood there is there still or kept, and a reader sees the old or the new, whole. Once the
apply has answered, what it did is there after a power cut too, and so is what it kept.
"""

import errno
import os
import random
from dataclasses import dataclass, field

import pytest

from dirsync.core.entry import Directory, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.disk import spool  # noqa: F401 - every module of the disk level is to be patched
from dirsync.disk.apply import Done, Prepared, apply_batch
from dirsync.disk.durability import BatchSync
from dirsync.disk.kept import KeptArea, entry_at
from dirsync.disk.probe import Settled, probe
from dirsync.disk.reading import digest_of
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.disk.unlocking import Unlocking
from dirsync.errors import DirsyncError
from tests.sim.disk import Killed, SimDisk
from tests.sim.modules import SimPath
from tests.sim.patching import simulated
from tests.sim.person import Person
from tests.sim.power import power_cut
from tests.sim.syscalls import SYNCING
from tests.sim.trees import STAGING_PREFIX

START_NS = 1_790_000_000_000_000_000
OLD_NS = 1_600_000_000_000_000_000
MANY = 20
"""More than are synced one by one."""


def file(content, mode=0o644):
    return File(digest_of(content), len(content), OLD_NS, mode)


@dataclass
class Scenario:
    """What stands in the directory ({path: content}, or None for a directory) and what is applied to it.

    `steps` are (path, intended entry, its content); `moves` are (old path, new path). `is_synced`: whether the
    people who wrote it had synced it. `is_far`: the state lies on another file system. `link`: another name of `f`.
    """

    stands: dict = field(default_factory=dict)
    steps: list = field(default_factory=list)
    moves: list = field(default_factory=list)
    is_synced: bool = True
    is_far: bool = False
    link: bytes | None = None

    @property
    def intended(self):
        """{path: content} of the files after it; None where no file is."""
        result = {path: content for path, _, content in self.steps}
        for old, new in self.moves:
            result |= {old: None, new: self.stands[old]}
        return result


SCENARIOS = {
    "add": Scenario({b"d": None}, [(b"d/f", file(b"new"), b"new")]),
    "replace": Scenario({b"f": b"old"}, [(b"f", file(b"new"), b"new")]),
    "replace far": Scenario({b"f": b"old"}, [(b"f", file(b"new"), b"new")], is_far=True),
    "replace linked": Scenario({b"f": b"old"}, [(b"f", file(b"new"), b"new")], link=b"also"),
    "delete": Scenario({b"f": b"old"}, [(b"f", None, None)]),
    "delete far": Scenario({b"f": b"old"}, [(b"f", None, None)], is_far=True),
    "rename": Scenario({b"d": None, b"f": b"old"}, moves=[(b"f", b"d/g")]),
    "bits": Scenario({b"f": b"old"}, [(b"f", file(b"old", 0o600), b"old")]),
    "link": Scenario({b"f": b"old"}, [(b"f", Symlink(b"target", OLD_NS), None)]),
    "directory": Scenario({b"f": b"old"}, [(b"f", Directory(0o755), None)]),
    "file for directory": Scenario({b"d": None}, [(b"d", file(b"new"), b"new")]),
    "many": Scenario(
        {b"d": None} | {b"d/%d" % number: b"old %d" % number for number in range(MANY)},
        [(b"d/%d" % number, file(b"new %d" % number), b"new %d" % number) for number in range(MANY)],
    ),
}
UNSYNCED = {
    f"{name}, unsynced": Scenario(each.stands, each.steps, each.moves, False, each.is_far)
    for name, each in SCENARIOS.items()
    if name in ("replace", "replace far", "delete", "many")
}


class Run:
    """One apply that ends at its `end`-th call, or comes to its own end, and the start after it.

    With `is_failing` that call fails, and the apply goes on; `standing` is what is there when it has answered.
    """

    def __init__(self, scenario, seed, end, is_power_cut, *, is_failing=False, has_renameat2=True):
        self._scenario = scenario
        self._rng = random.Random(seed)
        self._end = end
        self._is_power_cut = is_power_cut
        self._is_failing = is_failing
        self.calls = []
        self.outcomes = None
        self.standing = {}
        self.found = {}
        self.files = {}
        self.kept = set()
        clock = iter(range(START_NS, START_NS + 10**15, 10**6))
        self._disk = SimDisk(lambda: next(clock))
        self._machine = self._disk.machine("a")
        self._person = Person(self._disk, b"/sim/a/root", self._rng)
        with simulated(self._disk, self._rng) as self._system:
            self._system.libc.has_renameat2 = has_renameat2
            self._set_up()
            process = self._machine.process("server")
            with process.running():
                self._apply()
            self.standing = self._kinds()
            self._stop(process)
            with self._machine.process("server again").running():
                self._look()

    def _set_up(self):
        scenario, person = self._scenario, self._person
        person.mkdir(b"")
        self._system.os.mkdir(b"/sim/a/far")
        if scenario.is_far:
            self._machine.mount(b"/sim/a/far")
        for path, content in scenario.stands.items():
            if content is None:
                person.mkdir(path)
        with self._machine.process("first start").running():
            self._close(self._opened())
        for fs in self._machine.file_systems:
            fs.sync()
        for path, content in scenario.stands.items():
            if content is not None:
                person.write(path, content)
                person.touch(path, OLD_NS)
        if scenario.link is not None:
            person.link(b"f", scenario.link)
        if scenario.is_synced:
            self._machine.file_systems[0].sync()

    def _opened(self):
        root = Root.open("/sim/a/root")
        return root, Staging(root, self._state()), KeptArea(self._state())

    def _state(self):
        return SimPath("/sim/a/far/state" if self._scenario.is_far else "/sim/a/state")

    @staticmethod
    def _close(opened):
        for part in reversed(opened):
            part.close()

    def _apply(self):
        opened = self._opened()
        root, staging, kept = opened
        known = {path: self._known(root, path) for path in self._scenario.stands}
        self._disk.before_call = self._before_call
        try:
            sync = BatchSync(root, len(self._scenario.steps), is_receiving=False)
            prepared = [*self._steps(staging, known), *self._moves(known)]
            with sync, apply_batch(root, staging, kept, Unlocking(root, self._state()), prepared, sync) as batch:
                self.outcomes = batch.outcomes
        except (Killed, DirsyncError):
            pass
        finally:
            self._disk.before_call = None

    @staticmethod
    def _known(root, path):
        found = probe(root, RelPath(path), None, is_forced=True)
        assert isinstance(found, Settled)
        return Known(found.entry, found.fingerprint, found.looked_ns + 10**12)

    def _steps(self, staging, known):
        for path, intended, content in self._scenario.steps:
            before = known.get(path)
            expected = None if before is None else before.entry
            staged = None
            if isinstance(intended, Symlink):
                staged = staging.link(RelPath(path), intended.target)
            elif content is not None and (not isinstance(expected, File) or expected.digest != intended.digest):
                staged = staging.write(RelPath(path), intended.digest, content)
            yield Prepared(Action(RelPath(path), expected, intended, False), staged, before)

    def _moves(self, known):
        for old, new in self._scenario.moves:
            entry = known[old].entry
            action = Action(RelPath(new), None, entry, False, renamed_from=RelPath(old), expected_source=entry)
            yield Prepared(action, None, None, known[old])

    def _before_call(self, process, call, what):
        self.calls.append(call)
        if len(self.calls) == self._end:
            if self._is_failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._stop(process)

    def _kinds(self):
        tree = self._person.tree()
        return {path: (found[0], found[3]) for path, found in tree.items() if not path.startswith(STAGING_PREFIX)}

    def _stop(self, process):
        if process.is_killed:
            return
        if self._is_power_cut:
            power_cut(self._machine, self._rng)
        else:
            self._disk.kill(process)

    def _look(self):
        """Start again: what is in the tree, and what was kept or came out of the staging area as somebody's."""
        system = self._system.os
        opened = self._opened()
        _, staging, kept = opened
        for stray in staging.recover(lambda _: RelPath(b"somewhere")):
            if isinstance(entry_at(stray.directory, stray.name), File):
                number = system.open(stray.name, os.O_RDONLY, dir_fd=stray.directory)
                self.kept.add(system.read(number, 1 << 20))
                system.close(number)
        for orphan in kept.orphans(set(), lambda _: RelPath(b"somewhere")):
            number = kept.open(orphan.file)
            self.kept.add(system.read(number, 1 << 20))
            system.close(number)
        self._close(opened)
        self.found = self._kinds()
        self.files = {path: content for path, (kind, content) in self.found.items() if kind == "file"}

    def problems(self):
        """Return what does not hold."""
        scenario = self._scenario
        stood = {path: content for path, content in scenario.stands.items() if content is not None}
        is_answered = self.outcomes is not None
        if is_answered and not all(isinstance(each, Done) for each in self.outcomes):
            return [f"it failed: {self.outcomes}"]
        present = {*self.files.values(), *self.kept}
        found = []
        if scenario.is_synced or is_answered:
            found += [f"{content} is lost" for content in stood.values() if content not in present]
        for path, intended in scenario.intended.items():
            if path in self.files:
                is_whole = self.files[path] in (stood.get(path), intended)
            else:
                is_whole = path not in stood or intended is None
            if scenario.is_synced and not is_whole:
                found.append(f"{path} is torn: {self.files.get(path)}")
            if is_answered and self.files.get(path) != intended:
                found.append(f"{path} is not durable: {self.files.get(path)}")
        return found


def sweep(scenario, seeds, *, is_power_cut):
    """End the apply at every call, and after the last; return what does not hold and how many runs there were."""
    calls = len(Run(scenario, 0, None, False).calls)
    found, runs = [], 0
    for seed in seeds:
        for end in range(1, calls + 2):
            run = Run(scenario, seed, end, is_power_cut)
            runs += 1
            at = run.calls[end - 1] if end <= calls else "the end"
            found += [f"seed {seed}, call {end} ({at}): {problem}" for problem in run.problems()]
    return found, runs


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_call_loses_nothing(name):
    found, _ = sweep(SCENARIOS[name], [1] if name != "many" else (), is_power_cut=False)
    assert found == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_at_any_call_loses_nothing(name):
    found, _ = sweep(SCENARIOS[name], range(2) if name != "many" else [], is_power_cut=True)
    assert found == []


@pytest.mark.parametrize("has_renameat2", [True, False])
@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {"many"}))
def test_what_an_apply_that_failed_has_done_is_durable(name, has_renameat2):
    """It is found there, and both sides agree on it: a power cut that undid it would be taken for somebody's edit."""
    scenario = SCENARIOS[name]
    for end in range(1, len(Run(scenario, 0, None, False, has_renameat2=has_renameat2).calls) + 1):
        for seed in range(3):
            run = Run(scenario, seed, end, True, is_failing=True, has_renameat2=has_renameat2)
            if run.calls[end - 1] not in (*SYNCING, "openat2"):  # what is to be synced is opened first
                assert run.found == run.standing, (end, run.calls[end - 1], run.outcomes)


@pytest.mark.parametrize("name", UNSYNCED)
def test_what_is_kept_is_durable_although_nobody_had_synced_it(name):
    """A version that was named to the user is there after a power cut, also of a file that had just been written."""
    scenario = UNSYNCED[name]
    problems = [Run(scenario, seed, None, True).problems() for seed in range(30)]
    assert problems == [[]] * 30


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_many_power_cuts_at_every_call(name):
    found, runs = sweep(SCENARIOS[name], range(2, 22) if name != "many" else range(2), is_power_cut=True)
    assert found == []
    assert runs > 400
