"""A comparison notes what works find, and what a tool fails at, and leaves nothing behind."""

import os
import shutil

import pytest

from benchmarks.measuring import Comparison
from benchmarks.pairs import Pair
from benchmarks.places import Place
from benchmarks.results import Results
from benchmarks.scale import MIB, Scale
from benchmarks.tools import Tool
from benchmarks.work import interface
from benchmarks.work.bursts import Burst
from benchmarks.work.large_files import Delta
from benchmarks.work.metadata import Metadata

TINY = Scale(burst=3, metadata=3, delta=MIB, wait_seconds=0)


class Copying(Tool):
    """Copies A over B, and removes from B what A lacks, before `nudge` returns."""

    name = "copying"
    is_live = False
    is_two_way = False

    @staticmethod
    def version() -> str:
        return "1"

    def nudge(self, _source) -> None:
        shutil.copytree(self.pair.a, self.pair.b, dirs_exist_ok=True)
        for path in self.pair.b.iterdir():
            if not (self.pair.a / path.name).exists():
                path.unlink()


class Spoiling(Copying):
    """Makes one name look right, with another content."""

    name = "spoiling"

    def nudge(self, source) -> None:
        super().nudge(source)
        path = self.pair.b / "probe-a-1"
        status = path.stat()
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


class Idle(Copying):
    """Does nothing."""

    name = "idle"

    def nudge(self, _source) -> None:
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(interface, "STRAYS_SECONDS", 0.0)
    monkeypatch.setattr(Pair, "settle_disk", lambda _pair: None)
    results = Results()
    comparison = Comparison(Place("here", tmp_path, "ext4", is_durable=True), TINY, results, lambda _text: None)

    def run_once(work, *tools) -> Results:
        comparison.run([work], tools, 0)
        assert list(tmp_path.iterdir()) == []
        return results

    return run_once


@pytest.mark.parametrize("work", [Burst(), Metadata(), Delta()], ids=lambda work: work.name)
def test_what_a_work_finds_is_noted(run, work) -> None:
    results = run(work, Copying)
    assert results.failures == []
    assert results.figures
    for key in results.figures:
        assert len(results.runs("here", key, "copying")) == 1


@pytest.mark.parametrize(("tool", "reason"), [(Spoiling, "probe-a-1: contents"), (Idle, "probe-a-1")])
def test_what_a_tool_fails_at_is_noted_and_the_others_go_on(run, tool, reason: str) -> None:
    results = run(Burst(), tool, Copying)
    (failure,) = results.failures
    assert (failure.tool, failure.work) == (tool.name, "burst")
    assert reason in failure.reason
    assert {sample.tool for sample in results.samples} == {"copying"}
