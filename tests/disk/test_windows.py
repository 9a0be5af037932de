"""An apply is disturbed in every window between two of its system calls, by everything that programs do to files.

Whatever happens: no content is lost, nothing of ours stays behind, what somebody changed is never called done, and
nothing outside is touched.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from dirsync.core.entry import Directory, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Failed, Refused
from dirsync.disk import guard, syscalls
from dirsync.disk.apply import Batch, Done, Prepared
from dirsync.disk.probe import observed, probe
from tests.disk.bench import OLD_NS, Bench, file_entry
from tests.disk.intruders import INTRUDERS, Intruder, Stage
from tests.support.windows import at_each_system_call

NEW_CONTENT = b"new!"
NEW = file_entry(NEW_CONTENT, OLD_NS + 1, 0o600)


def _old(stage: Stage) -> Known:
    known = stage.bench.make("d/f", b"old")
    stage.owe(b"old")
    return known


def _replace(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), NEW, NEW_CONTENT)


def _delete(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), None)


def _place(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", None, NEW, NEW_CONTENT)


def _new_metadata(stage: Stage) -> Prepared:
    known = _old(stage)
    assert isinstance(known.entry, File)
    return stage.bench.prepare("d/f", known, replace(known.entry, mode=0o600, mtime_ns=OLD_NS + 1))


def _rename_from(stage: Stage) -> Prepared:
    known = _old(stage)
    assert isinstance(known.entry, File)
    action = Action(
        RelPath(b"d/new name"), None, known.entry, renamed_from=RelPath(b"d/f"), expected_source=known.entry
    )
    return Prepared(action, None, None, known)


def _rename_to(stage: Stage) -> Prepared:
    known = stage.bench.make("d/source", b"old")
    stage.owe(b"old")
    assert isinstance(known.entry, File)
    moved = replace(known.entry, mode=0o600)
    action = Action(RelPath(b"d/f"), None, moved, renamed_from=RelPath(b"d/source"), expected_source=known.entry)
    return Prepared(action, None, None, known)


def _file_to_directory(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), Directory(0o755))


def _file_to_link(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), Symlink(b"target"), b"")


def _link_to_file(stage: Stage) -> Prepared:
    stage.name.symlink_to("old")
    stage.owe(b"old")
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), NEW, NEW_CONTENT)


def _new_directory(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", None, Directory(0o755))


def _directory_bits(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), Directory(0o700))


def _delete_directory(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), None)


def _delete_directory_with_leftovers(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    for name in ("1.ignored", "2.ignored"):
        (stage.name / name).write_text(name)
        stage.owe(name.encode())
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), None)


def _directory_to_file(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), NEW, NEW_CONTENT)


APPLIES = (
    _replace,
    _delete,
    _place,
    _new_metadata,
    _rename_from,
    _rename_to,
    _file_to_directory,
    _file_to_link,
    _link_to_file,
    _new_directory,
    _directory_bits,
    _delete_directory,
    _delete_directory_with_leftovers,
    _directory_to_file,
)


HAVE_A_FILE = (_replace, _delete, _new_metadata, _rename_from, _file_to_directory, _file_to_link)
NEEDS_A_FILE = Stage.append_through_an_old_descriptor
COMBINATIONS = [
    pytest.param(prepare, intruder, id=f"{prepare.__name__.strip('_')}-{intruder.__name__}")
    for prepare in APPLIES
    for intruder in INTRUDERS
    if intruder is not NEEDS_A_FILE or prepare in HAVE_A_FILE
]

LACKING = [
    frozenset({"same file system"}),
    frozenset({"renameat2", "openat2"}),
    frozenset({"leases"}),
    frozenset({"renameat2", "openat2", "leases", "same file system"}),
]


def _is_ignored(path: RelPath, _is_directory: bool) -> bool:
    return path.endswith(b".ignored")


@pytest.fixture
def stages(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Stage]]:
    """Make a fresh stage on the same bench, as often as wanted; the parameter says what is missing there."""
    lacking = getattr(request, "param", frozenset())
    bench = request.getfixturevalue("far_bench" if "same file system" in lacking else "quick_bench")
    if "renameat2" in lacking:
        monkeypatch.setattr(syscalls, "_renameat2", lambda *_: False)
    if "openat2" in lacking:
        monkeypatch.setattr(syscalls, "_has_openat2", lambda: False)
    if "leases" in lacking:
        monkeypatch.setattr(guard, "take_read_lease", lambda _: None)
        monkeypatch.setattr("dirsync.disk.probe.take_read_lease", lambda _: None)
    monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if everything had been quiet for long
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (outside / "f").write_bytes(b"f outside")
    before = {path: path.read_bytes() for path in outside.iterdir()}

    def fresh() -> Stage:
        for directory in (bench.directory, bench.state / "staging", bench.state / "versions"):
            _clear(directory)
        stage = Stage(bench, outside)
        stage.directory.mkdir()
        return stage

    yield fresh
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
        kept = {each.file: _kept_value(bench, each.file) for each in self.batch.kept}
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


def _kept_value(bench: Bench, file: str) -> bytes:
    path = bench.state / "versions" / file
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def _disturb(stage: Stage, prepare: Callable[[Stage], Prepared], intruder: Intruder, window: int) -> Disturbed:
    """Do the apply; the intruder acts once, before its call number `window` or as soon after as it can."""
    prepared = prepare(stage)
    before = None

    def act(number: int, name: str) -> None:
        nonlocal before
        if before is None and number >= window:
            with suppress(BlockingIOError):  # kept out by a lease: it waits
                intruder(stage)
                before = name

    with stage.writer_of_old() if intruder is NEEDS_A_FILE else nullcontext():
        with at_each_system_call(act):
            batch = stage.bench.apply_all(prepared, is_ignored=_is_ignored)
        return Disturbed(stage, prepared, batch, before)


def _all_windows(
    prepare: Callable[[Stage], Prepared], intruder: Intruder, stages: Callable[[], Stage]
) -> Iterator[Disturbed]:
    """Do the apply as often as it has windows, the intruder in another one each time; the last time after all."""
    for window in count():
        disturbed = _disturb(stages(), prepare, intruder, window)
        yield disturbed
        if disturbed.before is None:
            assert window > 10
            return


@pytest.mark.parametrize(("prepare", "intruder"), COMBINATIONS)
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
    assert batch.outcomes == [Failed("the directory is not empty")]
    assert [(each.path, bench.kept_content(each.file)) for each in batch.kept] == [(b"d/one.tmp", b"one")]


def test_a_file_that_becomes_a_directory_is_never_absent(bench: Bench) -> None:
    prepared = bench.prepare("f", bench.make("f"), Directory(0o755))
    seen = []
    with at_each_system_call(lambda *_: seen.append(bench.at("f").exists())):
        assert isinstance(bench.apply_one(prepared), Done)
    assert len(seen) > 10
    assert all(seen)


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
