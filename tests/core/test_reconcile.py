"""One path: the rule table by name, every case against an oracle, and properties over trees."""

from itertools import product
from typing import TypeVar

import pytest
from hypothesis import given

from dirsync.core.entry import Directory, Entry, File, Role, Symlink, mtime_of, same_content
from dirsync.core.paths import RelPath
from dirsync.core.reconcile import Outcome, reconcile
from tests.support.trees import Edit, Entries, base_trees, directory, disturbed, edits, file, link

T = TypeVar("T")

OLD = file("old", 10)
EARLY = file("early", 20)
LATE = file("late", 30)
RESTORED = file("restored", 1)
TOUCHED = file("old", 40)
CHMODDED = file("old", 10, 0o600)

TABLE: dict[str, tuple[Entry | None, Entry | None, Entry | None, Outcome]] = {
    "same, same: nothing": (OLD, OLD, OLD, Outcome(OLD)),
    "absent everywhere: nothing": (None, None, None, Outcome(None)),
    "a modified": (OLD, EARLY, OLD, Outcome(EARLY)),
    "b modified": (OLD, OLD, EARLY, Outcome(EARLY)),
    "a restored an older file": (OLD, RESTORED, OLD, Outcome(RESTORED)),
    "b restored an older file": (OLD, OLD, RESTORED, Outcome(RESTORED)),
    "a added": (None, EARLY, None, Outcome(EARLY)),
    "b added": (None, None, EARLY, Outcome(EARLY)),
    "a deleted": (OLD, None, OLD, Outcome(None)),
    "b deleted": (OLD, OLD, None, Outcome(None)),
    "both deleted": (OLD, None, None, Outcome(None)),
    "both changed to equal": (OLD, LATE, LATE, Outcome(LATE)),
    "both added equal": (None, LATE, LATE, Outcome(LATE)),
    "content equal, b's time newer": (OLD, file("new", 20), file("new", 30), Outcome(file("new", 30))),
    "content equal, a's time newer": (OLD, file("new", 30), file("new", 20), Outcome(file("new", 30))),
    "content equal, newest also brings its mode": (
        OLD,
        file("new", 20, 0o600),
        file("new", 30, 0o640),
        Outcome(file("new", 30, 0o640)),
    ),
    "a deleted, b modified": (OLD, None, EARLY, Outcome(EARLY)),
    "b deleted, a modified": (OLD, EARLY, None, Outcome(EARLY)),
    "a deleted, b modified to an older file": (OLD, None, RESTORED, Outcome(RESTORED)),
    "a deleted, b touched": (OLD, None, TOUCHED, Outcome(None)),
    "b deleted, a touched": (OLD, TOUCHED, None, Outcome(None)),
    "a deleted, b chmodded": (OLD, None, CHMODDED, Outcome(None)),
    "a deleted, b made it a directory": (OLD, None, directory(), Outcome(directory())),
    "b deleted, a made it a link": (OLD, link("t"), None, Outcome(link("t"))),
    "both modified, b newer": (OLD, EARLY, LATE, Outcome(LATE, Role.A)),
    "both modified, a newer": (OLD, LATE, EARLY, Outcome(LATE, Role.B)),
    "both modified, a tie": (OLD, file("one", 20), file("two", 20), Outcome(file("one", 20), Role.B)),
    "first run, b newer": (None, EARLY, LATE, Outcome(LATE, Role.A)),
    "first run, a newer": (None, LATE, EARLY, Outcome(LATE, Role.B)),
    "first run, same content, times apart": (None, file("x", 1), file("x", 2), Outcome(file("x", 2))),
    "chmod at a, edit at b": (OLD, CHMODDED, EARLY, Outcome(file("early", 20, 0o600))),
    "edit at a, chmod at b": (OLD, EARLY, CHMODDED, Outcome(file("early", 20, 0o600))),
    "chmod at a, touch at b": (OLD, CHMODDED, TOUCHED, Outcome(file("old", 40, 0o600))),
    "chmod at a, older file restored at b": (OLD, CHMODDED, RESTORED, Outcome(file("restored", 1, 0o600))),
    "chmod at both, a tie": (OLD, CHMODDED, file("old", 10, 0o640), Outcome(CHMODDED)),
    "chmod and edit at a, edit at b": (
        OLD,
        file("early", 20, 0o600),
        LATE,
        Outcome(file("late", 30, 0o600), Role.A),
    ),
    "touch at a is newest, edit at b": (OLD, TOUCHED, EARLY, Outcome(TOUCHED, Role.B)),
    "touch at a, edit at b is newest": (OLD, file("old", 25), LATE, Outcome(LATE, Role.A)),
    "directory chmod at a": (directory(), directory(0o700), directory(), Outcome(directory(0o700))),
    "directory chmod at both, a tie": (
        directory(),
        directory(0o700),
        directory(0o750),
        Outcome(directory(0o700)),
    ),
    "directory deleted at a, chmod at b": (directory(), None, directory(0o700), Outcome(None)),
    "first run, directory modes differ": (None, directory(0o700), directory(0o750), Outcome(directory(0o700))),
    "links: text of the newest": (link("o", 1), link("p", 2), link("q", 3), Outcome(link("q", 3), Role.A)),
    "links: a tie": (link("o", 1), link("p", 2), link("q", 2), Outcome(link("p", 2), Role.B)),
    "link re-made at a, deleted at b": (link("o", 1), link("o", 9), None, Outcome(None)),
    "file at a, link at b newer": (None, EARLY, link("t", 30), Outcome(link("t", 30), Role.A)),
    "directory at a, file at b": (None, directory(), LATE, Outcome(directory(), Role.B)),
    "file at a, directory at b": (OLD, LATE, directory(), Outcome(directory(), Role.A)),
    "a replaced the directory by a file": (directory(), LATE, directory(), Outcome(LATE)),
    "a replaced the directory by a file, b chmodded it": (
        directory(),
        LATE,
        directory(0o700),
        Outcome(directory(0o700), Role.A),
    ),
    "directory at a, link at b": (OLD, directory(), link("t", 50), Outcome(directory(), Role.B)),
}


@pytest.mark.parametrize("name", TABLE)
def test_row(name: str) -> None:
    base, a, b, outcome = TABLE[name]
    assert reconcile(base, a, b) == outcome


def test_winner_link_keeps_its_time() -> None:
    """Times of links are not compared, so the table cannot see them."""
    assert mtime_of(reconcile(link("o", 1), link("p", 2), link("q", 3)).entry) == 3


CASES: tuple[Entry | None, ...] = (
    None,
    *(file(content, time, mode) for content in ("p", "q", "rr") for time in (1, 2) for mode in (0o600, 0o644)),
    directory(0o600),
    directory(0o644),
    link("s", 1),
    link("t", 2),
)


def oracle(base: Entry | None, a: Entry | None, b: Entry | None) -> tuple[Entry | None, Role | None]:
    """Say the same as the table, attribute by attribute instead of case by case."""
    newest, oldest = (Role.B, Role.A) if mtime_of(a) < mtime_of(b) else (Role.A, Role.B)
    present = {Role.A: a, Role.B: b}

    def pick(was: T, of_a: T, of_b: T) -> T:
        """Return an attribute of the side that changed it, of the newest where both did."""
        if of_a != was and of_b != was:
            return of_a if newest is Role.A else of_b
        return of_b if of_a == was else of_a

    if a == b or base in (a, b):
        return pick(base, a, b), None
    if None in (a, b):
        modified = b if a is None else a
        return (None if same_content(modified, base) else modified), None
    kinds = [type(a), type(b)]
    if kinds.count(Directory) == 1:
        stays = Role.A if kinds[0] is Directory else Role.B
        return present[stays], stays.other
    if isinstance(a, File) and isinstance(b, File):
        units = [(e.digest, e.size, e.mtime_ns) if isinstance(e, File) else None for e in (base, a, b)]
        bits = [e.mode if isinstance(e, File) else None for e in (base, a, b)]
        unit, mode = pick(*units), pick(*bits)
        is_conflict = units[0] not in units[1:] and a.digest != b.digest
        return File(*unit, mode), oldest if is_conflict else None
    if isinstance(a, Directory) and isinstance(b, Directory):
        return Directory(pick(*(e.mode if isinstance(e, Directory) else None for e in (base, a, b)))), None
    return present[newest], oldest


@pytest.mark.parametrize("base", CASES, ids=str)
def test_every_case_agrees_with_the_oracle(base: Entry | None) -> None:
    for a, b in product(CASES, CASES):
        entry, loser = oracle(base, a, b)
        assert reconcile(base, a, b) == Outcome(entry, loser), (a, b)


def _is_tie(a: Entry | None, b: Entry | None) -> bool:
    return a is not None and b is not None and mtime_of(a) == mtime_of(b)


@pytest.mark.parametrize("base", CASES, ids=str)
def test_every_case_mirrors_but_for_ties(base: Entry | None) -> None:
    for a, b in product(CASES, CASES):
        if not _is_tie(a, b) or base in (a, b):
            one, two = reconcile(base, a, b), reconcile(base, b, a)
            assert one == Outcome(two.entry, two.loser and two.loser.other), (a, b)


@pytest.mark.parametrize("base", CASES, ids=str)
def test_every_case_is_silent_after_its_outcome(base: Entry | None) -> None:
    for a, b in product(CASES, CASES):
        entry = reconcile(base, a, b).entry
        assert reconcile(entry, entry, entry) == Outcome(entry)


@pytest.mark.parametrize("base", CASES, ids=str)
def test_every_case_accounts_for_each_content(base: Entry | None) -> None:
    """Content that the outcome lacks was the base's, was deleted, or is named as the loser's."""
    for a, b in product(CASES, CASES):
        outcome = reconcile(base, a, b)
        for role, present in ((Role.A, a), (Role.B, b)):
            if isinstance(present, File | Symlink) and not same_content(present, outcome.entry):
                assert same_content(present, base) or outcome.loser is role, (a, b)


def outcomes(base: Entries, a: Entries, b: Entries) -> Entries:
    decided = {path: reconcile(base.get(path), a.get(path), b.get(path)).entry for path in {*base, *a, *b}}
    return {path: entry for path, entry in decided.items() if entry is not None}


@given(base_trees(), edits(), edits())
def test_trees_converge_and_then_are_silent(base: Entries, edits_a: list[Edit], edits_b: list[Edit]) -> None:
    agreed = outcomes(base, disturbed(base, edits_a), disturbed(base, edits_b, 1))
    assert outcomes(agreed, agreed, agreed) == agreed


@given(base_trees(), edits())
def test_one_disturbed_tree_wins_whole(base: Entries, script: list[Edit]) -> None:
    changed = disturbed(base, script)
    assert outcomes(base, changed, base) == changed
    assert outcomes(base, base, changed) == changed


@given(base_trees(), edits(), edits())
def test_first_run_is_a_union(base: Entries, edits_a: list[Edit], edits_b: list[Edit]) -> None:
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    assert outcomes({}, a, b).keys() == a.keys() | b.keys()


@given(base_trees(), edits(), edits())
def test_paths_commute(base: Entries, edits_a: list[Edit], edits_b: list[Edit]) -> None:
    """Doing one path first leaves the outcome of every other as it was, and its own as it became."""
    a, b = disturbed(base, edits_a), disturbed(base, edits_b, 1)
    expected = outcomes(base, a, b)
    for path in sorted({*a, *b, *base}):
        entry = expected.get(path)
        for entries in (base, a, b):
            _put(entries, path, entry)
        assert outcomes(base, a, b) == expected


def _put(entries: Entries, path: RelPath, entry: Entry | None) -> None:
    entries.pop(path, None)
    if entry is not None:
        entries[path] = entry
