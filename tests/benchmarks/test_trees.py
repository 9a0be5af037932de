"""The comparison of two trees, on which every figure rests, finds whatever differs."""

import os

import pytest

from benchmarks.trees import LONG_AGO_NS, differences, small_names, write_large, write_small
from benchmarks.waiting import Mark, TooSlow, marks_of, wait_shown

NAMES = small_names(3, "d")


@pytest.fixture
def trees(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        root.mkdir()
        write_small(root, NAMES, LONG_AGO_NS)
    return a, b


def test_trees_written_alike_are_the_same(trees) -> None:
    assert differences(*trees) == []


def test_small_files_differ_from_each_other_and_fill_directories(trees) -> None:
    assert len({(trees[0] / name).read_bytes() for name in NAMES}) == len(NAMES)
    assert len({name.partition("/")[0] for name in small_names(101, "d")}) == 2


def _keeping_time(path, change) -> None:
    change(path)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


CHANGES = {
    "other content": lambda path: _keeping_time(path, lambda p: p.write_bytes(p.read_bytes()[::-1])),
    "longer": lambda path: _keeping_time(path, lambda p: p.write_bytes(p.read_bytes() + b"x")),
    "other bits": lambda path: path.chmod(0o600),
    "other time": lambda path: os.utime(path, ns=(1, 1)),
    "gone": lambda path: path.unlink(),
    "new": lambda path: path.with_name("new").touch(),
    "another kind": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("side", [0, 1])
def test_a_difference_is_found(trees, change, side: int) -> None:
    change(trees[side] / NAMES[0])
    found = differences(*trees)
    assert len(found) == 1
    assert found[0].startswith(NAMES[0].rpartition("/")[0])


def test_what_a_tool_keeps_for_itself_is_left_out(trees) -> None:
    (trees[0] / ".own").mkdir()
    (trees[0] / ".own" / "file").touch()
    assert differences(*trees, own_names={".own"}) == []


def test_times_are_compared_as_far_as_the_tool_keeps_them(trees) -> None:
    os.utime(trees[0] / NAMES[0], ns=(LONG_AGO_NS + 5, LONG_AGO_NS + 5))
    assert differences(*trees, within_ns=5) == []
    assert len(differences(*trees, within_ns=4)) == 1


def test_what_is_shown_is_not_waited_for(trees) -> None:
    wait_shown(trees[1], [*marks_of(trees[0], NAMES), Mark("gone")], seconds_max=0)


@pytest.mark.parametrize("mark", [Mark("missing", 1), Mark(NAMES[0])], ids=["to come", "to go"])
def test_what_is_not_shown_in_time_is_named(trees, mark: Mark) -> None:
    with pytest.raises(TooSlow, match=mark.name):
        wait_shown(trees[1], [mark], seconds_max=0)


def test_large_files_of_other_seeds_differ(tmp_path) -> None:
    for seed in (1, 2):
        write_large(tmp_path / str(seed), 1024 * 1024, seed)
    assert (tmp_path / "1").stat().st_size == (tmp_path / "2").stat().st_size == 1024 * 1024
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()
