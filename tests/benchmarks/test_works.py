"""Every work and tool can be told apart, and the measures of goals are measured by some work at full scale."""

import ast
from pathlib import Path

import pytest

from benchmarks.__main__ import is_chosen
from benchmarks.goals import GOALS
from benchmarks.scale import FULL, QUICK, show_size
from benchmarks.tools import TOOLS
from benchmarks.work import works

WORK = Path(__file__).parents[2] / "benchmarks" / "work"


def test_works_and_tools_have_names_of_their_own() -> None:
    for scale in (FULL, QUICK):
        names = [work.name for work in works(scale)]
        assert len(names) == len(set(names))
    assert len({tool.name for tool in TOOLS}) == len(TOOLS)


def test_every_work_is_done_by_dirsync() -> None:
    assert all(work.takes(TOOLS[0]) for work in works(FULL) if work.name != "syncs")


def test_the_figures_of_goals_are_measured_at_full_scale() -> None:
    """Keys with a size in them name a size of the full scale; the words before it stand in a work."""
    texts = {
        node.value.rstrip(".")
        for path in WORK.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    sizes = {str(size) for size in (*FULL.trees, *FULL.growing, FULL.burst, FULL.equal, FULL.held)}
    for goal in GOALS:
        words = [word for word in goal.figure.removesuffix(".bytes").split(".") if not word.isdigit()]
        numbers = [word for word in goal.figure.split(".") if word.isdigit()]
        assert set(numbers) <= sizes, goal.figure
        assert ".".join(words) in texts or (words[0] in texts and words[-1] in texts), goal.figure


def test_sizes_are_written_in_whole_units() -> None:
    assert [show_size(size) for size in (1024**3, 256 * 1024**2, 1536 * 1024**2)] == ["1 GiB", "256 MiB", "1536 MiB"]


@pytest.mark.parametrize(
    ("name", "wanted", "is_wanted"),
    [
        ("tree-10000", "", True),
        ("tree-10000", "tree", True),
        ("tree-10000", "busy,tree-10000", True),
        ("tree-100000", "tree-10000", False),
        ("write+sync+rename", "write", True),
        ("change", "busy,", False),
    ],
)
def test_what_is_named_is_chosen_by_whole_words(name: str, wanted: str, is_wanted: bool) -> None:
    assert is_chosen(name, wanted) is is_wanted
