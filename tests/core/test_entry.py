"""What counts as the same, and how a step is called."""

from itertools import product

import pytest

from dirsync.core.entry import ChangeKind, Entry, Role, Symlink, change_kind, mtime_of, same_content, size_of
from tests.support.trees import directory, file, link

ENTRIES: list[Entry | None] = [
    None,
    file("1"),
    file("1", 5),
    file("1", 0, 0o600),
    file("2"),
    directory(),
    directory(0o700),
    link("1"),
    link("2"),
]


def test_roles_are_each_others_other() -> None:
    assert Role.A.other is Role.B
    assert Role.B.other is Role.A
    assert list(Role) == [Role.A, Role.B]


def test_time_of_a_link_is_not_compared() -> None:
    assert Symlink(b"t", 1) == Symlink(b"t", 2)
    assert hash(Symlink(b"t", 1)) == hash(Symlink(b"t", 2))
    assert Symlink(b"t", 1) != Symlink(b"u", 1)


@pytest.mark.parametrize(
    ("one", "two", "is_same"),
    [
        (None, None, True),
        (None, file("1"), False),
        (file(""), None, False),
        (file("1"), file("1", 5, 0o600), True),
        (file("1"), file("2"), False),
        (directory(), directory(0o700), True),
        (directory(), None, False),
        (directory(), file(""), False),
        (link("1", 3), link("1", 4), True),
        (link("1"), link("2"), False),
        (link("1"), file("1"), False),
    ],
)
def test_same_content(one: Entry | None, two: Entry | None, is_same: bool) -> None:
    assert same_content(one, two) is is_same
    assert same_content(two, one) is is_same


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (None, file("1"), ChangeKind.ADDED),
        (None, directory(), ChangeKind.ADDED),
        (file("1"), None, ChangeKind.DELETED),
        (file("1"), file("2"), ChangeKind.MODIFIED),
        (file("1"), file("1", 5), ChangeKind.METADATA),
        (file("1"), file("1", 0, 0o600), ChangeKind.METADATA),
        (directory(), directory(0o700), ChangeKind.METADATA),
        (link("1"), link("2"), ChangeKind.MODIFIED),
        (file("1"), directory(), ChangeKind.MODIFIED),
        (link("1"), file("1"), ChangeKind.MODIFIED),
    ],
)
def test_change_kind(old: Entry | None, new: Entry | None, kind: ChangeKind) -> None:
    assert change_kind(old, new) is kind


def test_every_step_has_a_name_and_its_way_back_too() -> None:
    opposite = {ChangeKind.ADDED: ChangeKind.DELETED, ChangeKind.DELETED: ChangeKind.ADDED}
    for old, new in product(ENTRIES, ENTRIES):
        if old != new:
            kind = change_kind(old, new)
            assert change_kind(new, old) is opposite.get(kind, kind)


@pytest.mark.parametrize(
    ("entry", "size", "mtime_ns"),
    [
        (None, 0, 0),
        (file("hello", 7), 5, 7),
        (directory(), 0, 0),
        (link("ää", 9), 4, 9),
    ],
)
def test_size_and_time(entry: Entry | None, size: int, mtime_ns: int) -> None:
    assert size_of(entry) == size
    assert mtime_of(entry) == mtime_ns
