"""An apply is disturbed in every window between two of its system calls, by everything that programs do to files.

Whatever happens: no content is lost, nothing of ours stays behind, what somebody changed is never called done, and
nothing outside is touched.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from dirsync.core.fingerprint import Known
from dirsync.core.reports import Failed, Refused
from dirsync.disk.apply import Batch, Done, Prepared
from dirsync.disk.probe import observed, probe
from tests.disk.applies import (
    APPLIES,
    NEW,
    NEW_CONTENT,
    delete,
    directory_bits,
    file_to_directory,
    file_to_link,
    is_ignored,
    kept_value,
    link_to_file,
    new_metadata,
    rename_from,
    replace_file,
)
from tests.disk.bench import Bench
from tests.disk.intruders import INTRUDERS, Intruder, Stage
from tests.support.windows import at_each_system_call

HAVE_A_FILE = (replace_file, delete, new_metadata, rename_from, file_to_directory, file_to_link)
NEEDS_A_FILE = Stage.append_through_an_old_descriptor
PAIRS = [
    (prepare, intruder)
    for prepare in APPLIES
    for intruder in INTRUDERS
    if intruder is not NEEDS_A_FILE or prepare in HAVE_A_FILE
]
NAMES = [f"{prepare.__name__}-{intruder.__name__}" for prepare, intruder in PAIRS]
COMBINATIONS = [pytest.param(*pair, id=name) for pair, name in zip(PAIRS, NAMES, strict=True)]
SAMPLED = [
    pytest.param(*pair, id=name, marks=[pytest.mark.faults] if number % 2 else [])
    for number, (pair, name) in enumerate(zip(PAIRS, NAMES, strict=True))
]
"""All of them, of which the short run takes every other one."""

LACKING = [
    frozenset({"same file system"}),
    frozenset({"renameat2", "openat2"}),
    frozenset({"leases"}),
    frozenset({"renameat2", "openat2", "leases", "same file system"}),
]


@dataclass
class Disturbed:
    """What became of one apply, and before which of its calls the intruder acted; None where it had fewer."""

    stage: Stage
    prepared: Prepared
    batch: Batch
    before: str | None

    def problems(self) -> list[str]:
        """Return the promises that were broken."""
        stage, bench, outcome = self.stage, self.stage.bench, self.batch.outcomes[0]
        kept = {each.file: kept_value(bench, each.file) for each in self.batch.kept}
        found = [f"lost: {content!r}" for content in stage.missing(kept.values())]
        if bench.staged_names() or any(bench.directory.glob(".dirsync-*")):
            found.append("left in the staging area")
        if bench.kept.files() != kept.keys():
            found.append("kept, and nobody is told")
        for each in self.batch.kept:
            looked_again = bench.kept.second_look(each.file, each.entry)
            if looked_again != each.entry and not stage.is_writing_late:
                found.append("kept as something else")
        if isinstance(outcome, Done) and outcome.known is not None and self._believed(outcome.known) != self._truth():
            found.append("believed unchanged")
        if isinstance(outcome, Refused) and stage.present() == NEW_CONTENT:
            found.append("refused, and done")
        return found

    def _truth(self) -> object:
        return observed(probe(self.stage.bench.root, self.prepared.action.path, None, is_forced=True, must_read=True))

    def _believed(self, known: Known) -> object:
        return observed(probe(self.stage.bench.root, self.prepared.action.path, known, is_forced=True))


def _disturb(stage: Stage, prepare: Callable[[Stage], Prepared], *intruders: tuple[Intruder, int]) -> Disturbed:
    """Do the apply; each intruder acts once, before the call with its number or as soon after as it can."""
    prepared = prepare(stage)
    waiting = list(intruders)
    before = None

    def act(number: int, name: str) -> None:
        nonlocal before
        if waiting and number >= waiting[0][1]:
            with suppress(BlockingIOError):  # kept out by a lease: it waits
                waiting[0][0](stage)
                waiting.pop(0)
                before = None if waiting else name

    needs_writer = any(intruder is NEEDS_A_FILE for intruder, _ in intruders)
    with stage.writer_of_old() if needs_writer else nullcontext():
        with at_each_system_call(act):
            batch = stage.bench.apply_all(prepared, is_ignored=is_ignored)
        return Disturbed(stage, prepared, batch, before)


def _all_windows(
    prepare: Callable[[Stage], Prepared], intruder: Intruder, stages: Callable[[], Stage]
) -> Iterator[Disturbed]:
    """Do the apply as often as it has windows, the intruder in another one each time; the last time after all."""
    for window in count():
        disturbed = _disturb(stages(), prepare, (intruder, window))
        yield disturbed
        if disturbed.before is None:
            assert window > 10
            return


@pytest.mark.parametrize(("prepare", "intruder"), SAMPLED)
def test_every_window(prepare: Callable[[Stage], Prepared], intruder: Intruder, stages: Callable[[], Stage]) -> None:
    runs = enumerate(_all_windows(prepare, intruder, stages))
    broken = [(number, run.before, problems) for number, run in runs if (problems := run.problems())]
    assert not broken


def _admitted(lacking: frozenset[str], intruder: Intruder) -> set[str | None]:
    """Return the calls before which something can be lost where so much is lacking.

    Between a check and the call that replaces or removes a name there is one window where no call does both; and who
    still writes to a file whose content had to be copied to another disk cannot be found out without leases.
    """
    if intruder is NEEDS_A_FILE and lacking >= {"leases", "same file system"}:
        return {None, "close", "rename", "fsync", "unlink", "open", "stat", "fstat", "rmdir", "fcntl", "utime", "pread"}
    return {"replace", "unlink"} if "renameat2" in lacking else set()


@pytest.mark.faults
@pytest.mark.parametrize("stages", LACKING, indirect=True, ids=lambda each: "no " + ", ".join(sorted(each)))
@pytest.mark.parametrize(("prepare", "intruder"), COMBINATIONS)
def test_every_window_elsewhere(
    request: pytest.FixtureRequest,
    prepare: Callable[[Stage], Prepared],
    intruder: Intruder,
    stages: Callable[[], Stage],
) -> None:
    admitted = _admitted(request.node.callspec.params["stages"], intruder)
    runs = enumerate(_all_windows(prepare, intruder, stages))
    broken = [(number, run.before, problems) for number, run in runs if (problems := run.problems())]
    assert [each for each in broken if each[1] not in admitted] == []


TWICE = (Stage.replace, Stage.write_in_place, Stage.delete, Stage.make_a_directory, Stage.make_a_link, Stage.move_away)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("second", TWICE, ids=lambda each: each.__name__)
@pytest.mark.parametrize("first", TWICE, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    "prepare", [replace_file, delete, rename_from, file_to_directory], ids=lambda each: each.__name__
)
def test_every_pair_of_windows(
    prepare: Callable[[Stage], Prepared], first: Intruder, second: Intruder, stages: Callable[[], Stage]
) -> None:
    """Two changes, one while the surprise of the other is being put back."""
    broken = []
    for window in count():
        for distance in count():
            run = _disturb(stages(), prepare, (first, window), (second, window + distance))
            if problems := run.problems():
                broken.append((window, distance, run.before, problems))
            if run.before is None:
                break
        if distance == 0:
            break
    assert window > 10
    assert not broken


def _shown(path: Path) -> object:
    """Return what a reader finds at a name."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
        return os.readlink(path) if stat.S_ISLNK(mode) else "a directory"
    except FileNotFoundError:
        return None


@pytest.mark.parametrize(
    ("prepare", "shown"),
    [
        (replace_file, {b"old", NEW_CONTENT}),
        (new_metadata, {b"old"}),
        (file_to_directory, {b"old", "a directory"}),
        (file_to_link, {b"old", "target"}),
        (link_to_file, {"old", NEW_CONTENT}),
        (directory_bits, {"a directory"}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_reader_sees_the_old_or_the_new_in_every_window(
    prepare: Callable[[Stage], Prepared], shown: set[object], stages: Callable[[], Stage]
) -> None:
    stage = stages()
    prepared = prepare(stage)
    seen = set()
    with at_each_system_call(lambda *_: seen.add(_shown(stage.name))):
        outcome = stage.bench.apply_one(prepared)
    assert isinstance(outcome, Done)
    assert seen == shown


def test_ignored_leftovers_are_told_although_their_directory_had_to_stay(bench: Bench) -> None:
    bench.make("d/one.tmp", b"one")
    prepared = bench.prepare("d", bench.known("d"), None)
    late: list[int] = []

    def add(number: int, name: str) -> None:
        if name == "rmdir":
            bench.at("d/late").write_bytes(b"late")
            late.append(number)

    with at_each_system_call(add):
        batch = bench.apply_all(prepared, is_ignored=lambda path, _: path.endswith(b".tmp"))
    assert late
    assert batch.outcomes == [Failed("the directory is not empty", is_passing=True)]
    assert [(each.path, bench.kept_content(each.file)) for each in batch.kept] == [(b"d/one.tmp", b"one")]


def test_nobody_writes_to_a_new_file_before_its_stat_is_taken(bench: Bench) -> None:
    """Or an edit of the same size that puts the time back would be taken for what was put there."""
    known = bench.make("f")
    calls: list[str] = []

    def edit(_number: int, name: str) -> None:
        if calls[-1:] == ["renameat2"] and calls.count("renameat2") == 1:
            with pytest.raises(BlockingIOError):
                os.open(bench.at("f"), os.O_WRONLY | os.O_NONBLOCK)
        calls.append(name)

    prepared = bench.prepare("f", known, NEW, NEW_CONTENT)
    with at_each_system_call(edit):
        done = bench.apply_one(prepared)
    assert "renameat2" in calls
    assert isinstance(done, Done)
    assert done.known is not None
