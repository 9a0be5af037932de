"""Each system call of an apply fails once: nothing is lost, what is said is true, and the next start finds the rest."""

import errno
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest

from dirsync.core.paths import RelPath
from dirsync.disk.apply import Batch, Done, Prepared
from dirsync.disk.kept import Kept
from dirsync.disk.probe import observed, probe
from dirsync.disk.reading import digest_of
from dirsync.errors import DiskError, RootLost
from tests.disk.applies import APPLIES, is_ignored, kept_value
from tests.disk.intruders import Stage
from tests.support.windows import at_each_system_call

_PATHS = [RelPath(path) for path in (b"d/f", b"d/source", b"d/new name", b"d/f/1.ignored", b"d/f/2.ignored")]


def _failing(stage: Stage, prepared: Prepared, failing: int, number: int) -> tuple[Batch | None, str]:
    """Apply, while call number `failing` fails; return its name, empty if there were fewer."""
    failed = ""

    def act(at: int, name: str) -> None:
        nonlocal failed
        if at == failing:
            failed = name
            raise OSError(number, "as the test wants it")

    with at_each_system_call(act):
        try:
            return stage.bench.apply_all(prepared, is_ignored=is_ignored), failed
        except RootLost:
            return None, failed


def _recovered(stage: Stage, reported: list[Kept]) -> list[Kept]:
    """Do what a start does with what is left."""
    bench = stage.bench
    kept: list[Kept] = []
    path_of = bench.path_of(*(path.decode() for path in _PATHS))
    for stray in bench.staging.recover(path_of):
        assert stray.path is not None
        bench.kept.keep_all(stray.directory, stray.name, stray.path, kept)
    return kept + bench.kept.orphans({each.file for each in (*reported, *kept)}, path_of)


@pytest.mark.parametrize(
    "number",
    [errno.EIO, *(pytest.param(each, marks=pytest.mark.faults) for each in (errno.ENOSPC, errno.EACCES))],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("prepare", APPLIES, ids=lambda each: each.__name__)
def test_each_call_fails_once(prepare: Callable[[Stage], Prepared], number: int, stages: Callable[[], Stage]) -> None:
    broken = []
    for at in count():
        stage = stages()
        prepared = prepare(stage)
        batch, failed = _failing(stage, prepared, at, number)
        problems = _problems(stage, prepared, batch)
        if problems:
            broken.append((at, failed, problems))
        if not failed:
            break
    assert at > 10
    assert not broken


CONTENT = b"arrives in two parts"


def _receive(stage: Stage, *, is_abandoned: bool) -> bool:
    digest = digest_of(CONTENT)
    transfer = stage.bench.staging.receive(digest, len(CONTENT), 0)
    try:
        transfer.write(CONTENT[:7])
        if not is_abandoned:
            transfer.write(CONTENT[7:])
            return transfer.finish()
    finally:
        transfer.abandon()
    return False


@pytest.mark.parametrize("is_abandoned", [False, True], ids=["finished", "abandoned"])
def test_each_call_of_a_transfer_fails_once_and_the_next_one_succeeds(
    stages: Callable[[], Stage], is_abandoned: bool
) -> None:
    for at in count():
        stage = stages()
        failed = False

        def act(number: int, _name: str) -> None:
            nonlocal failed
            if number == at:  # noqa: B023
                failed = True
                raise OSError(errno.EIO, "as the test wants it")

        with at_each_system_call(act), suppress(DiskError):
            _receive(stage, is_abandoned=is_abandoned)
        assert _receive(stage, is_abandoned=False)
        staged = stage.bench.staging.take(RelPath(b"d/f"), digest_of(CONTENT))
        assert staged is not None
        stage.bench.staging.discard(staged)
        if not failed:
            break
    assert at > 5


def _problems(stage: Stage, prepared: Prepared, batch: Batch | None) -> list[str]:
    bench, outcome = stage.bench, None if batch is None else batch.outcomes[0]
    reported = [] if batch is None else batch.kept
    found = []
    if strays := bench.staging.recover(bench.path_of()):
        found.append(f"somebody's, and under no name until the next start: {strays}")
    recovered = _recovered(stage, reported)
    missing = stage.missing(kept_value(bench, each.file) for each in (*reported, *recovered))
    if missing:
        found.append(f"lost: {missing}")
    if bench.staged_names():
        found.append(f"left in the staging area: {bench.staged_names()}")
    if isinstance(outcome, Done):
        path = prepared.action.path
        truth = observed(probe(bench.root, path, None, is_forced=True, must_read=True))
        if truth != outcome.entry:
            found.append(f"called done, and it is {truth}")
        if outcome.known is not None and observed(probe(bench.root, path, outcome.known)) != truth:
            found.append("believed unchanged")
    return found
