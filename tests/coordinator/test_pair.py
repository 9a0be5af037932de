"""What is known of the pair: who counts as known, what is worth planning, and what goes when a path is settled."""

import pytest

from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Role
from dirsync.core.tree import Tree
from dirsync.limits import PENDING_INLINE_BYTES_MAX, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from tests.support.trees import at, directory, file

X, Y, D = at("x"), at("y"), at("d")


class Known:
    """A pair, who is known, and what was recorded."""

    def __init__(self, *known, frozen=()):
        self.known = set(known)
        self.recorded = []
        self.pair = Pair(lambda path, entry: self.recorded.append((path, entry)), frozen.__contains__, self.known)


@pytest.fixture
def ground():
    return Known(*Role)


def base(**entries):
    tree = Tree()
    for name, entry in entries.items():
        tree.set(at(name), entry)
    return tree


def test_a_recorded_base_is_nothing_to_do_and_costs_no_second_copy(ground):
    ground.pair.load(base(x=file("x"), d=directory()))
    assert not ground.pair.views.open_count
    assert all(not len(differences) for differences in ground.pair.views._differences.values())
    assert ground.pair.files == 1
    assert ground.pair.is_agreed_content(file("x").digest)


def test_what_both_hold_becomes_the_base(ground):
    ground.pair.observe(Role.A, X, file("x"), 1)
    assert ground.pair.dirty == {X}
    ground.pair.observe(Role.B, X, file("x"), 2)
    assert ground.recorded == [(X, file("x"))]
    assert not ground.pair.views.is_open(X)


def test_a_replica_that_is_not_known_agrees_with_nobody():
    ground = Known(Role.A)
    ground.pair.load(base(x=file("x")))
    ground.pair.first_run()
    ground.pair.observe(Role.A, X, file("x"), 1)
    assert ground.recorded == []
    ground.pair.observe(Role.B, X, None, 2)
    assert ground.recorded == []
    assert ground.pair.views.get(Role.A, X) == file("x")


def test_what_is_believed_of_a_replica_is_what_was_seen_of_it_else_the_base(ground):
    ground.pair.load(base(x=file("x"), d=directory()))
    assert dict(ground.pair.believed(Role.B)) == {X: file("x"), D: directory()}
    ground.pair.observe(Role.B, X, None, 1)
    ground.pair.observe(Role.B, at("new"), file("new"), 1)
    assert dict(ground.pair.believed(Role.B)) == {D: directory(), at("new"): file("new")}
    assert dict(ground.pair.believed(Role.A)) == {X: file("x"), D: directory()}


def test_before_anything_was_agreed_each_is_believed_to_hold_what_the_other_does():
    ground = Known(Role.A)
    ground.pair.observe(Role.A, X, file("x"), 1)
    assert dict(ground.pair.believed(Role.B)) == {X: file("x")}


def test_what_both_hold_again_costs_nothing_more(ground):
    ground.pair.load(base(x=file("x")))
    ground.pair.observe(Role.A, X, file("y"), 1)
    ground.pair.observe(Role.B, X, file("y"), 2)
    assert ground.recorded == [(X, file("y"))]
    assert all(not len(differences) for differences in ground.pair.views._differences.values())
    assert not ground.pair.is_agreed_content(file("x").digest)
    assert ground.pair.is_agreed_content(file("y").digest)
    assert ground.pair.files == 1


def test_a_frozen_path_advances_no_base():
    ground = Known(*Role, frozen={X})
    for role in Role:
        ground.pair.observe(role, X, file("x"), 1)
    assert ground.recorded == []


@pytest.mark.parametrize(
    "happen",
    [
        lambda pair: pair.observe(Role.A, D, directory(), 1),
        lambda pair: pair.observe(Role.B, D, directory(0o700), 1),
        lambda pair: pair.end([D]),
        lambda pair: pair.retry(D),
    ],
)
def test_what_was_left_is_planned_again_when_something_becomes_of_what_is_in_its_way(ground, happen):
    pair = ground.pair
    for role in Role:
        pair.observe(role, D, directory(0o700 if role is Role.A else 0o755), 1)
    pair.observe(Role.A, X, file("x"), 1)
    pair.begin([D, Y])
    pair.leave({X: D}, {(Role.B, file("x").digest): D})
    pair.dirty.clear()
    pair.observe(Role.A, Y, file("y"), 1)
    pair.end([Y])
    assert X not in pair.dirty
    assert pair.arriving == {(Role.B, file("x").digest): D}
    happen(pair)
    assert X in pair.dirty
    assert not pair.arriving


def test_what_was_left_is_planned_again_also_when_what_is_in_its_way_has_failed(ground):
    pair = ground.pair
    pair.observe(Role.A, D, directory(), 1)
    pair.observe(Role.A, X, file("x"), 1)
    pair.begin([D])
    pair.leave({X: D}, {(Role.B, file("x").digest): D})
    pair.dirty.clear()
    pair.note_trouble(D, "not permitted", is_announced=True)
    pair.end([D])
    assert pair.dirty == {X}
    assert not pair.arriving


def test_a_directory_is_planned_again_when_something_in_it_changes(ground):
    ground.pair.observe(Role.A, D, directory(), 1)
    ground.pair.dirty.clear()
    ground.pair.observe(Role.A, at("d/x"), file("x"), 1)
    assert ground.pair.dirty == {D, at("d/x")}


def test_work_on_a_path_is_counted(ground):
    ground.pair.observe(Role.A, X, file("x"), 1)
    ground.pair.dirty.clear()
    ground.pair.begin([X])
    ground.pair.begin([X])
    ground.pair.end([X])
    assert ground.pair.is_busy(X)
    ground.pair.end([X])
    assert not ground.pair.is_busy(X)
    assert ground.pair.dirty == {X}


def test_each_failure_in_a_row_doubles_the_delay_up_to_the_bound(ground):
    ground.pair.observe(Role.A, X, file("x"), 1)
    delays = [ground.pair.note_trouble(X, "no", is_announced=True).delay_seconds for _ in range(9)]
    assert delays[:3] == [RETRY_FIRST_SECONDS, RETRY_FIRST_SECONDS * 2, RETRY_FIRST_SECONDS * 4]
    assert delays[-1] == RETRY_MAX_SECONDS
    assert ground.pair.is_waiting(X)
    ground.pair.retry(X)
    assert not ground.pair.is_waiting(X)


@pytest.mark.parametrize("settle", ["observe", "record", "forget"])
def test_nothing_is_remembered_of_a_settled_path(ground, settle):
    pair = ground.pair
    pair.observe(Role.B, X, file("x"), 1)
    pair.keep_inline(Role.B, X, b"x")
    pair.note_trouble(X, "no", is_announced=True)
    if settle == "observe":
        pair.observe(Role.A, X, file("x"), 2)
    elif settle == "record":
        pair.views.observe(Role.A, X, file("x"))
        pair.record(X, file("x"))
    else:
        pair.forget(Role.B)
    assert not pair.troubles
    assert pair.inline(Role.B, X) is None
    assert pair._inline_bytes == 0
    assert pair.detected_seconds(X, 9) == 9


def test_a_content_is_forgotten_when_another_is_observed_also_without_one(ground):
    """As a snapshot tells it: its length may be the same."""
    ground.pair.observe(Role.A, X, file("1"), 1)
    ground.pair.keep_inline(Role.A, X, b"1")
    ground.pair.observe(Role.B, X, file("b"), 1)
    ground.pair.observe(Role.A, X, file("1", mtime_ns=7), 2)
    assert ground.pair.inline(Role.A, X) == b"1"
    ground.pair.observe(Role.A, X, file("2"), 3)
    assert ground.pair.inline(Role.A, X) is None
    assert ground.pair._inline_bytes == 0


def test_inline_contents_are_bounded(ground):
    ground.pair.keep_inline(Role.A, X, b"1" * PENDING_INLINE_BYTES_MAX)
    ground.pair.keep_inline(Role.B, D, b"2")
    assert ground.pair.inline(Role.B, D) is None
    ground.pair.keep_inline(Role.A, X, b"3")
    ground.pair.keep_inline(Role.B, D, b"2")
    assert ground.pair.inline(Role.B, D) == b"2"


def test_the_first_sight_of_a_change_counts(ground):
    ground.pair.observe(Role.A, X, file("x"), 5)
    ground.pair.observe(Role.A, X, file("y"), 7)
    assert ground.pair.detected_seconds(X, 9) == 5
