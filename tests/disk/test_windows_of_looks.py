"""A file is changed in every window between two system calls of a look at it: what is settled is a whole state.

And the index row that follows from a look never proves, by a stat alone, what is not there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from dirsync.core.entry import File, Observed, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.disk.probe import Probe, Settled, observed, probe
from dirsync.disk.reading import digest_of
from tests.disk.intruders import INTRUDERS, Intruder, Stage
from tests.support.windows import at_each_system_call

F = RelPath(b"d/f")
WAYS: dict[str, dict[str, bool]] = {"plain": {}, "read again": {"must_read": True}, "forced": {"is_forced": True}}
PREFIX = digest_of(b"the")
"""What a forced look may take of `theirs`: the look takes a file that only grows as long as it was at the start."""
ONE_STEP = [each for each in INTRUDERS if each is not Stage.append_through_an_old_descriptor]


def _truth(stage: Stage) -> Observed:
    return observed(probe(stage.bench.root, F, None, is_forced=True, must_read=True))


def _content(found: Observed) -> object:
    return found.digest if isinstance(found, File) else found.target if isinstance(found, Symlink) else found


def _check(stage: Stage, way: str, found: Probe, states: list[Observed], capture: Path | None) -> None:
    if not isinstance(found, Settled):
        assert capture is None or not capture.exists()
        return
    is_sample = way == "forced" and not found.is_confirmed and _content(found.entry) == PREFIX
    assert is_sample or _content(found.entry) in [_content(state) for state in states]
    if capture is not None and isinstance(found.entry, File):
        assert digest_of(capture.read_bytes()) == found.entry.digest
        capture.unlink()
    known = Known(found.entry, found.fingerprint, found.looked_ns if found.is_confirmed else 0)
    assert observed(probe(stage.bench.root, F, known, is_forced=True)) == _truth(stage)


def _look(stage: Stage, way: str, capture: Path | None, act: Callable[[int], None]) -> Probe:
    known = stage.bench.known("d/f") if way == "read again" else None
    with at_each_system_call(lambda number, _: act(number)):
        return probe(stage.bench.root, F, known, capture_to=capture, **WAYS[way])


@pytest.mark.parametrize(
    "is_captured", [pytest.param(False, id="looked at"), pytest.param(True, id="captured", marks=pytest.mark.faults)]
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("intruder", ONE_STEP, ids=lambda each: each.__name__)
def test_one_change_in_every_window(
    stages: Callable[[], Stage], tmp_path: Path, intruder: Intruder, way: str, is_captured: bool
) -> None:
    capture = tmp_path / "capture" if is_captured else None
    for window in count():
        stage = stages()
        stage.bench.make("d/f", b"old")
        states = [_truth(stage)]

        def act(number: int) -> None:
            if len(states) == 1 and number >= window:  # noqa: B023
                with suppress(BlockingIOError):
                    intruder(stage)  # noqa: B023
                    states.append(_truth(stage))  # noqa: B023

        _check(stage, way, _look(stage, way, capture, act), states, capture)
        if len(states) == 1:
            break
    assert window > 3


class _Steps:
    """A program that saves in several steps: truncates, writes, writes on, and closes."""

    def __init__(self, path: Path) -> None:
        self._steps = self._run(path)
        self.is_over = False

    def next(self) -> None:
        with suppress(BlockingIOError):
            self.is_over = self.is_over or next(self._steps, True)

    @staticmethod
    def _run(path: Path) -> Iterator[bool]:
        while True:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
                break
            except BlockingIOError:
                yield False
        try:
            for part in (b"the", b"ir", b"s"):
                yield False
                os.write(fd, part)
        finally:
            os.close(fd)


@pytest.mark.parametrize("pace", [1, 2, 3, 5])
@pytest.mark.parametrize("way", ["plain", "read again"])
def test_a_save_in_steps_in_every_window(stages: Callable[[], Stage], way: str, pace: int) -> None:
    for window in count():
        stage = stages()
        stage.bench.make("d/f", b"old")
        states = [_truth(stage)]
        writer = _Steps(stage.name)
        has_begun = False

        def act(number: int) -> None:
            nonlocal has_begun
            if number >= window and (number - window) % pace == 0:  # noqa: B023
                has_begun = True
                writer.next()  # noqa: B023

        found = _look(stage, way, None, act)
        while not writer.is_over:
            writer.next()
        states.append(_truth(stage))
        _check(stage, way, found, states, None)
        if not has_begun:
            break
    assert window > 3
