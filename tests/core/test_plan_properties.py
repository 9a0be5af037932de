"""Two scripts played against each other on one tree, until all is quiet."""

from collections.abc import Collection

from hypothesis import given, settings
from hypothesis import strategies as st

from dirsync.core.entry import Directory, Entry, File, Role, Symlink, same_content
from dirsync.core.paths import RelPath, ancestors, is_below
from dirsync.core.plan import Action
from tests.support.settling import Pair, pair
from tests.support.trees import PATHS, Edit, Entries, GuardError, Op, base_trees, disturbed, edits, perform


def contents(entries: Entries) -> dict[RelPath, Entry]:
    return {path: entry for path, entry in entries.items() if not isinstance(entry, Directory)}


def assert_nothing_lost(base: Entries, before: dict[Role, Entries], two: Pair, final: Entries) -> None:
    """What somebody wrote is there in the end, or its replacement was announced as a conflict."""
    named = two.losers
    for role, entries in before.items():
        for path, entry in contents(entries).items():
            is_written = not same_content(entry, base.get(path))
            assert not is_written or same_content(entry, final.get(path)) or (role, path) in named, (role, path)


def assert_well_formed(entries: Entries) -> None:
    for path in entries:
        assert all(isinstance(entries.get(above), Directory) for above in ancestors(path)), path


def assert_nothing_resurrected(base: Entries, a: Entries, b: Entries, final: Entries) -> None:
    """What one side deleted and the other left alone is gone, but for directories something new needs."""
    for path, entry in base.items():
        is_gone = (path not in a and b.get(path) == entry) or (path not in b and a.get(path) == entry)
        is_needed = any(is_below(other, path) for other in final)
        assert not is_gone or path not in final or is_needed, path


@given(base_trees(), edits(), edits())
@settings(max_examples=300)
def test_two_scripts_converge(base: Entries, edits_a: list[Edit], edits_b: list[Edit]) -> None:
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    two = pair(base, a, b)
    two.settle()
    final = two.disks[Role.A].entries
    assert two.disks[Role.B].entries == final
    assert two.views.open_count == 0
    assert dict(two.views.base.items()) == final
    assert_well_formed(final)
    assert_nothing_lost(base, {Role.A: a, Role.B: b}, two, final)
    assert_nothing_resurrected(base, a, b, final)
    assert set(final) <= {*base, *a, *b}


@given(base_trees(), edits())
def test_one_script_arrives_as_it_was(base: Entries, script: list[Edit]) -> None:
    a = disturbed(base, script)
    two = pair(base, a, base)
    two.settle()
    assert two.disks[Role.A].entries == two.disks[Role.B].entries == a
    assert not two.actions(Role.A)
    assert not two.losers


@given(edits(), edits())
def test_first_run_deletes_no_name(edits_a: list[Edit], edits_b: list[Edit]) -> None:
    a, b = disturbed({}, edits_a), disturbed({}, edits_b, 1)
    two = pair({}, a, b)
    two.settle()
    assert two.disks[Role.A].entries == two.disks[Role.B].entries
    assert two.disks[Role.A].entries.keys() == a.keys() | b.keys()


@given(base_trees(), edits(without=[Op.CHMOD]), edits(without=[Op.CHMOD]))
def test_two_scripts_mirror(base: Entries, edits_a: list[Edit], edits_b: list[Edit]) -> None:
    """Without chmods, where both have the same time and A's bits are taken, nothing depends on who is A."""
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    one, mirrored = pair(base, a, b), pair(base, b, a)
    one.settle()
    mirrored.settle()
    assert one.disks[Role.A].entries == mirrored.disks[Role.A].entries
    assert one.losers == {(role.other, path) for role, path in mirrored.losers}


Batches = list[list[RelPath]]
BATCHES = st.lists(st.lists(st.sampled_from(PATHS), max_size=6), max_size=5)


@given(base_trees(), edits(), edits(), BATCHES)
@settings(max_examples=200)
def test_batches_do_not_matter(base: Entries, edits_a: list[Edit], edits_b: list[Edit], batches: Batches) -> None:
    """Any paths first, in any order: every step is possible, and the end is the same."""
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    whole, batched = pair(base, a, b), pair(base, a, b)
    whole.settle()
    for paths in batches:
        batched.cycle(paths)
    batched.settle()
    assert batched.disks[Role.A].entries == batched.disks[Role.B].entries == whole.disks[Role.A].entries
    assert batched.losers == whole.losers


@given(base_trees(), edits(), edits(), st.sets(st.sampled_from(PATHS), max_size=4))
@settings(max_examples=300)
def test_held_names_are_left_alone(
    base: Entries, edits_a: list[Edit], edits_b: list[Edit], names: Collection[RelPath]
) -> None:
    """A held file or link stays as it is while everything that can goes on; then all converge."""
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    held = {
        name for name in names if isinstance(a.get(name), File | Symlink) or isinstance(b.get(name), File | Symlink)
    }
    two = pair(base, a, b)
    two.settle(is_free=lambda path: path not in held)
    for path in held:
        assert two.disks[Role.A].get(path) == a.get(path)
        assert two.disks[Role.B].get(path) == b.get(path)
    for role in Role:
        assert_well_formed(two.disks[role].entries)
    for path in two.views.open_paths - held:
        assert any(is_below(path, name) or is_below(name, path) for name in held), path
    two.settle()
    assert two.disks[Role.A].entries == two.disks[Role.B].entries
    assert two.views.open_count == 0
    assert_nothing_lost(base, {Role.A: a, Role.B: b}, two, two.disks[Role.A].entries)


LATER = st.lists(st.tuples(st.sampled_from(Role), edits(), st.sets(st.sampled_from(PATHS))), max_size=4)


@given(base_trees(), edits(), edits(), LATER)
def test_edits_between_plan_and_execution(
    base: Entries, edits_a: list[Edit], edits_b: list[Edit], later: list[tuple[Role, list[Edit], set[RelPath]]]
) -> None:
    """The world moves on, and looks come late and in part: the guard refuses, and in the end all is quiet."""
    two = pair(base, disturbed(base, edits_a), disturbed(base, edits_b, 1))
    for number, (role, script, seen) in enumerate(later):
        made = two.plan(two.views.open_paths)
        for edit in script:
            perform(two.disks[role], edit, number)
        for target, actions in made.actions.items():
            for action in actions:
                try_apply(two, target, action)
        two.fold(made)
        two.observe(role, seen)
    for role in Role:
        two.observe(role, {*two.views.paths(), *two.disks[role].entries})
    two.settle()
    assert two.disks[Role.A].entries == two.disks[Role.B].entries
    assert_well_formed(two.disks[Role.A].entries)


def try_apply(two: Pair, role: Role, action: Action) -> None:
    try:
        two.disks[role].apply(action)
    except GuardError:
        return
