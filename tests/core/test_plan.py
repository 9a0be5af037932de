"""Trees: named cases, renames, and what is left alone."""

import pytest

from dirsync.core.entry import Problem, Role, Untracked
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action, Reason, plan
from tests.support.settling import pair
from tests.support.trees import (
    Entries,
    Spec,
    at,
    directory,
    file,
    link,
    tree,
)

NEW = file("new", 50)
NEWER = file("newer", 60)

CASES: dict[str, tuple[Spec, Spec, Spec, Spec]] = {
    "a file added": ({}, {"f": "1"}, {}, {"f": "1"}),
    "a deep tree added": ({}, {"d/": {"e/": {"f": "1"}, "g/": {}}}, {}, {"d/": {"e/": {"f": "1"}, "g/": {}}}),
    "a tree deleted": (
        {"d/": {"e/": {"f": "1"}}, "k": "2"},
        {"k": "2"},
        {"d/": {"e/": {"f": "1"}}, "k": "2"},
        {"k": "2"},
    ),
    "both edited": ({"f": "1"}, {"f": NEW}, {"f": NEWER}, {"f": NEWER}),
    "both edited, the loser also chmodded": (
        {"f": "1"},
        {"f": NEWER},
        {"f": file("new", 50, 0o600)},
        {"f": file("newer", 60, 0o600)},
    ),
    "both edited to the same": ({"f": "1"}, {"f": NEW}, {"f": NEW}, {"f": NEW}),
    "edited, deleted": ({"f": "1"}, {"f": NEW}, {}, {"f": NEW}),
    "deleted, edited": ({"f": "1"}, {}, {"f": NEW}, {"f": NEW}),
    "both deleted": ({"d/": {"f": "1"}}, {}, {}, {}),
    "both added the same": ({}, {"d/": {"f": "1"}}, {"d/": {"f": "1"}}, {"d/": {"f": "1"}}),
    "both added, differently": ({}, {"f": NEW}, {"f": NEWER}, {"f": NEWER}),
    "file against directory": ({}, {"x": NEW}, {"x/": {"f": "1"}}, {"x/": {"f": "1"}}),
    "a directory deleted, one edited, one added, two deleted inside": (
        {"d/": {"1": "1", "2": "2", "3": "3", "4": "4"}},
        {},
        {"d/": {"1": NEW, "2": "2", "5": "5"}},
        {"d/": {"1": NEW, "5": "5"}},
    ),
    "a directory deleted, an edit far inside": (
        {"d/": {"e/": {"f": "1", "g": "2"}, "h/": {"i": "3"}}},
        {},
        {"d/": {"e/": {"f": NEW, "g": "2"}, "h/": {"i": "3"}}},
        {"d/": {"e/": {"f": NEW}}},
    ),
    "a directory deleted with chmods inside": (
        {"d/": {"f": "1"}},
        {},
        {"d/": {"f": file("1", 0, 0o600)}},
        {},
    ),
    "file becomes directory": ({"x": "1"}, {"x/": {"f": "2"}}, {"x": "1"}, {"x/": {"f": "2"}}),
    "directory becomes file": ({"x/": {"f": "2", "d/": {}}}, {"x": "1"}, {"x/": {"f": "2", "d/": {}}}, {"x": "1"}),
    "directory becomes link": ({"x/": {"f": "2"}}, {"x": link("t")}, {"x/": {"f": "2"}}, {"x": link("t")}),
    "link becomes directory": ({"x": link("t")}, {"x/": {"f": "2"}}, {"x": link("t")}, {"x/": {"f": "2"}}),
    "file becomes directory, the file edited": ({"x": "1"}, {"x/": {"f": "2"}}, {"x": NEW}, {"x/": {"f": "2"}}),
    "directory becomes file, an edit inside": (
        {"x/": {"f": "2", "g": "3"}},
        {"x": NEW},
        {"x/": {"f": NEWER, "g": "3"}},
        {"x/": {"f": NEWER}},
    ),
    "directory becomes link, an addition inside": (
        {"x/": {"y/": {"f": "2"}}},
        {"x": link("t")},
        {"x/": {"y/": {"f": "2", "g": "3"}}},
        {"x/": {"y/": {"g": "3"}}},
    ),
    "directory becomes file that was inside": ({"x/": {"f": "1"}}, {"x": "1"}, {"x/": {"f": "1"}}, {"x": "1"}),
    "file moves into a directory of its name": ({"x": "1"}, {"x/": {"x": "1"}}, {"x": "1"}, {"x/": {"x": "1"}}),
    "renamed": ({"f": "1"}, {"g": "1"}, {"f": "1"}, {"g": "1"}),
    "renamed, edited": ({"f": "1"}, {"g": "1"}, {"f": NEW}, {"f": NEW, "g": "1"}),
    "renamed twice, differently": ({"f": "1"}, {"g": "1"}, {"f": None, "h": "1"}, {"g": "1", "h": "1"}),
    "two names swapped": ({"f": "1", "g": "2"}, {"f": "2", "g": "1"}, {"f": "1", "g": "2"}, {"f": "2", "g": "1"}),
    "a cycle of three": (
        {"f": "1", "g": "2", "h": "3"},
        {"f": "3", "g": "1", "h": "2"},
        {"f": "1", "g": "2", "h": "3"},
        {"f": "3", "g": "1", "h": "2"},
    ),
    "a file and a directory swapped": (
        {"f": "1", "d/": {"g": "2"}},
        {"d": "1", "f/": {"g": "2"}},
        {"f": "1", "d/": {"g": "2"}},
        {"d": "1", "f/": {"g": "2"}},
    ),
    "a directory renamed, a file inside edited": (
        {"d/": {"f": "1", "g": "2"}},
        {"e/": {"f": "1", "g": "2"}},
        {"d/": {"f": NEW, "g": "2"}},
        {"d/": {"f": NEW}, "e/": {"f": "1", "g": "2"}},
    ),
    "moved into each other": (
        {"d/": {"f": "1"}, "e/": {"g": "2"}},
        {"e/": {"g": "2", "d/": {"f": "1"}}},
        {"d/": {"f": "1", "e/": {"g": "2"}}},
        {"d/": {"e/": {"g": "2"}}, "e/": {"d/": {"f": "1"}}},
    ),
    "a tree turned inside out": (
        {"d/": {"e/": {"f": "1"}}},
        {"e/": {"d/": {"f": "1"}}},
        {"d/": {"e/": {"f": "1"}}},
        {"e/": {"d/": {"f": "1"}}},
    ),
    "first run of unrelated trees": (
        {},
        {"f": NEW, "d/": {"g": "2"}, "s": "same"},
        {"f": NEWER, "e/": {"h": "3"}, "s": "same"},
        {"f": NEWER, "d/": {"g": "2"}, "e/": {"h": "3"}, "s": "same"},
    ),
    "first run with one side empty": ({}, {}, {"f": "1", "d/": {"g": "2"}}, {"f": "1", "d/": {"g": "2"}}),
    "chmod, touch": ({"f": "1"}, {"f": file("1", 0, 0o755)}, {"f": file("1", 9)}, {"f": file("1", 9, 0o755)}),
    "directory chmod, an addition inside": (
        {"d/": {}},
        {"d": directory(0o700)},
        {"d/": {"f": "1"}},
        {"d": directory(0o700), "d/f": "1"},
    ),
}


def planted(spec: Spec) -> Entries:
    return tree({name: value for name, value in spec.items() if value is not None})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_mirrored", [False, True], ids=["", "mirrored"])
def test_case(name: str, is_mirrored: bool) -> None:
    base, a, b, expected = (planted(spec) for spec in CASES[name])
    two = pair(base, b, a) if is_mirrored else pair(base, a, b)
    two.settle()
    assert two.disks[Role.A].entries == expected
    assert two.disks[Role.B].entries == expected
    assert two.views.open_count == 0
    assert dict(two.views.base.items()) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both edited", {(Role.A, at("f"))}),
        ("both edited, the loser also chmodded", {(Role.B, at("f"))}),
        ("both added, differently", {(Role.A, at("f"))}),
        ("file against directory", {(Role.A, at("x"))}),
        ("file becomes directory, the file edited", {(Role.B, at("x"))}),
        ("directory becomes file, an edit inside", {(Role.A, at("x"))}),
        ("directory becomes link, an addition inside", {(Role.A, at("x"))}),
        ("edited, deleted", set()),
        ("renamed, edited", set()),
        ("chmod, touch", set()),
        ("file becomes directory", set()),
    ],
)
def test_conflicts_are_named(name: str, expected: set[tuple[Role, RelPath]]) -> None:
    base, a, b, _ = (planted(spec) for spec in CASES[name])
    two = pair(base, a, b)
    two.settle()
    assert two.losers == expected


def test_agreement_is_recorded_without_an_action() -> None:
    two = pair({}, tree({"f": "1"}), tree({"f": "1"}))
    made = two.plan([at("f")])
    assert made.agreed == [(at("f"), file("1"))]
    assert not any(made.actions.values())


def test_action_says_what_it_expects() -> None:
    two = pair(tree({"f": "1"}), tree({"f": NEW}), tree({"f": "1"}))
    assert two.plan([at("f")]).actions == {Role.A: [], Role.B: [Action(at("f"), file("1"), NEW)]}


def test_parents_are_planned_though_only_the_child_was_named() -> None:
    two = pair({}, tree({"d/": {"e/": {"f": "1"}}}), {})
    made = two.plan([at("d/e/f")])
    assert [action.path for action in made.actions[Role.B]] == [at("d"), at("d/e"), at("d/e/f")]


def test_directory_waits_for_children_that_are_not_in_the_batch() -> None:
    two = pair(tree({"d/": {"f": "1"}}), {}, tree({"d/": {"f": "1"}}))
    made = two.plan([at("d")])
    assert made.left == {at("d"): Reason.CHILDREN}
    assert not any(made.actions.values())


def test_lost_directory_comes_back_with_the_bits_it_had() -> None:
    two = pair({at("d"): directory(0o750), at("d/f"): file("1")}, {}, {at("d"): directory(0o750), at("d/f"): NEW})
    two.settle()
    assert two.disks[Role.A].get(at("d")) == directory(0o750)


def test_child_without_a_seen_parent_gets_one() -> None:
    """The watcher told of the file before it told of the directory."""
    two = pair({}, tree({"d/": {"f": "1"}}), {})
    two.views.observe(Role.A, at("d"), None)
    made = two.plan([at("d/f")])
    assert made.actions[Role.B][0] == Action(at("d"), None, directory())


class TestRenames:
    """A deletion and an addition of the same content at one replica become one action."""

    def test_pairing(self) -> None:
        two = pair(tree({"f": "1"}), tree({"g": "1"}), tree({"f": "1"}))
        made = two.cycle()
        assert made.actions[Role.B] == [
            Action(at("g"), None, file("1"), renamed_from=at("f"), expected_source=file("1"))
        ]
        assert two.views.open_count == 0

    def test_new_time_and_bits_come_along(self) -> None:
        two = pair(tree({"f": "1"}), {at("g"): file("1", 7, 0o600)}, tree({"f": "1"}))
        made = two.cycle()
        assert made.actions[Role.B] == [
            Action(at("g"), None, file("1", 7, 0o600), renamed_from=at("f"), expected_source=file("1"))
        ]

    def test_another_content_is_no_rename(self) -> None:
        two = pair(tree({"f": "1"}), tree({"g": "2"}), tree({"f": "1"}))
        assert all(action.renamed_from is None for action in two.plan(two.views.open_paths).actions[Role.B])

    def test_copy_is_no_rename(self) -> None:
        two = pair(tree({"f": "1"}), tree({"f": "1", "g": "1"}), tree({"f": "1"}))
        assert two.cycle().actions[Role.B] == [Action(at("g"), None, file("1"))]

    def test_each_source_is_used_once(self) -> None:
        base = tree({"f": "1", "g": "1"})
        two = pair(base, tree({"p": "1", "q": "1", "r": "1"}), base)
        made = two.cycle()
        assert sorted(str(action.renamed_from) for action in made.actions[Role.B]) == ["None", "b'f'", "b'g'"]

    def test_target_that_stands_is_replaced_not_renamed_over(self) -> None:
        base = tree({"f": "1", "g": "2"})
        two = pair(base, tree({"g": "1"}), base)
        assert all(action.renamed_from is None for action in two.cycle().actions[Role.B])

    def test_out_of_a_directory_that_goes_into_one_that_comes(self) -> None:
        base = tree({"d/": {"f": "1"}})
        two = pair(base, tree({"e/": {"f": "1"}}), base)
        made = two.cycle()
        assert [(action.path, action.renamed_from) for action in made.actions[Role.B]] == [
            (at("e"), None),
            (at("e/f"), at("d/f")),
            (at("d"), None),
        ]

    def test_into_a_directory_that_is_being_worked_on_waits_at_both_ends(self) -> None:
        """Deleted here and now, the content would have to be sent when its new name can be made."""
        base = tree({"f": "1", "k": "2", "d/": {}})
        two = pair(base, tree({"d/": {"f": "1"}}), base)
        made = two.cycle(is_free=lambda path: path != at("d"))
        assert made.left == {at("d/f"): Reason.PARENT, at("f"): Reason.PARENT}
        assert [action.path for action in made.actions[Role.B]] == [at("k")]
        assert two.cycle().actions[Role.B] == [
            Action(at("d/f"), None, file("1"), renamed_from=at("f"), expected_source=file("1"))
        ]

    def test_what_an_earlier_plan_left_is_waited_for_too(self) -> None:
        """The new name of a directory is reported before its old one is believed gone."""
        base = tree({"f": "1"})
        two = pair(base, tree({"f": "1", "d/": {"g": "1"}}), base)
        made = plan(two.views, [at("d"), at("d/g")], lambda path: path != at("d"))
        assert made.arriving == {(Role.B, file("1").digest): at("d")}
        two.views.observe(Role.A, at("f"), None)
        later = plan(two.views, [at("f")], lambda path: path != at("d"), arriving=made.arriving)
        assert later.hindered == {at("f"): at("d")}
        for held in (at("d"), at("f")):
            locked = plan(two.views, [at("f")], lambda path: path != at("d"), held.__eq__, made.arriving)
            assert bool(locked.hindered) is (held != at("d"))

    def test_nothing_waits_for_what_cannot_be_read_only_to_be_renamed_below_it(self) -> None:
        base = tree({"f": "1", "d": "2"})
        two = pair(base, tree({"d/": {"f": "1"}}), base)
        two.views.observe(Role.B, at("d"), Problem("unreadable"))
        made = two.plan(two.views.open_paths)
        assert made.left == {at("d"): Reason.PROBLEM, at("d/f"): Reason.PARENT}
        assert made.actions[Role.B] == [Action(at("f"), file("1"), None)]

    def test_nothing_waits_for_a_name_that_is_locked_only_to_be_renamed_below_it(self) -> None:
        base = tree({"f": "1", "d": "2"})
        two = pair(base, tree({"d/": {"f": "1"}}), base)
        paths = sorted(two.views.open_paths)
        made = plan(two.views, paths, lambda path: path != at("d"), lambda path: path == at("d"))
        assert made.left == {at("d/f"): Reason.PARENT}
        assert made.actions[Role.B] == [Action(at("f"), file("1"), None)]


class TestLeftForLater:
    """What may not be touched blocks what depends on it, and nothing else."""

    def test_held_file_in_a_deleted_directory(self) -> None:
        base = tree({"d/": {"e/": {"held": "1", "f": "2"}, "g": "3"}, "h/": {"i": "4"}})
        two = pair(base, base, {})
        two.settle(is_free=lambda path: path != at("d/e/held"))
        assert two.disks[Role.A].entries == tree({"d/": {"e/": {"held": "1"}}})
        assert two.left == {at("d"): Reason.CHILDREN, at("d/e"): Reason.CHILDREN}
        two.settle()
        assert two.disks[Role.A].entries == {}

    def test_held_file_that_the_other_side_made_a_directory(self) -> None:
        base = tree({"held": "1"})
        two = pair(base, base, tree({"held/": {"e/": {"f": "2"}}}))
        two.settle(is_free=lambda path: path != at("held"))
        assert two.disks[Role.A].entries == base
        assert two.left == {at("held/e"): Reason.PARENT, at("held/e/f"): Reason.PARENT}

    def test_held_file_in_place_of_a_directory_with_an_edit_far_inside(self) -> None:
        """The directory between them was to come back for the edit; without the upper one it cannot."""
        base = tree({"x/": {"y/": {"f": "1", "g": "2"}}})
        two = pair(base, tree({"x": "held"}), tree({"x/": {"y/": {"f": NEW, "g": "2"}}}))
        two.settle(is_free=lambda path: path != at("x"))
        assert two.disks[Role.A].entries == tree({"x": "held"})
        assert two.disks[Role.B].entries == tree({"x/": {"y/": {"f": NEW}}})
        assert two.left == {at("x/y"): Reason.PARENT, at("x/y/f"): Reason.PARENT}

    def test_busy_directory_holds_up_what_lies_in_it(self) -> None:
        base = tree({"d/": {}})
        two = pair(base, tree({"d/": {"f": "1"}, "g": "2"}), base)
        made = two.cycle(is_free=lambda path: path != at("d"))
        assert made.left == {at("d/f"): Reason.PARENT}
        assert two.disks[Role.B].entries == tree({"d/": {}, "g": "2"})

    def test_locked_name_that_is_a_directory_at_both_sides_holds_up_nothing_in_it(self) -> None:
        base = tree({"d/": {}})
        two = pair(base, tree({"d/": {"f": "1"}}), base)
        made = plan(two.views, [at("d/f")], lambda path: path != at("d"), lambda path: path == at("d"))
        assert not made.left
        assert made.actions[Role.B] == [Action(at("d/f"), None, file("1"))]

    @pytest.mark.parametrize("role", Role)
    def test_problem(self, role: Role) -> None:
        two = pair(tree({"f": "1", "g": "1"}), tree({"f": "2", "g": "2"}), tree({"f": "3", "g": "1"}))
        two.views.observe(role, at("f"), Problem("unreadable"))
        made = two.plan([at("f"), at("g")])
        assert made.left == {at("f"): Reason.PROBLEM}
        assert [action.path for action in made.actions[Role.B]] == [at("g")]

    @pytest.mark.parametrize("role", Role)
    def test_untracked(self, role: Role) -> None:
        two = pair({}, {}, {})
        two.views.observe(role, at("f"), Untracked("a FIFO"))
        two.views.observe(role.other, at("f"), file("1"))
        made = two.plan([at("f")])
        assert made.left == {at("f"): Reason.UNTRACKED}
        assert not any(made.actions.values())

    @pytest.mark.parametrize("found", [Problem("unreadable"), Untracked("a socket")])
    def test_directory_stays_for_what_cannot_go(self, found: Problem | Untracked) -> None:
        base = tree({"d/": {"e": "1"}})
        two = pair(base, base, {})
        two.views.observe(Role.A, at("d/u"), found)
        made = two.plan([at("d"), at("d/e")])
        assert made.left == {at("d"): Reason.CHILDREN}
        assert [action.path for action in made.actions[Role.A]] == [at("d/e")]

    @pytest.mark.parametrize("found", [Problem("unreadable"), Untracked("a FIFO")])
    def test_nothing_is_put_below_what_is_no_directory(self, found: Problem | Untracked) -> None:
        two = pair({}, tree({"d/": {"f": "1"}}), {})
        two.views.observe(Role.B, at("d"), found)
        made = two.plan([at("d/f")])
        assert made.left[at("d/f")] is Reason.PARENT
        assert not any(made.actions.values())
