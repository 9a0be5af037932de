import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Entry, Role
from dirsync.store.columns import BadRow, Wide, from_path, from_text, from_wide, to_wide
from dirsync.store.entry_rows import EntryRow, decode, decode_present, encode
from tests.store.support import exact, states


@given(st.integers(-(2**200), 2**200))
def test_any_integer_comes_back(number: int) -> None:
    stored = to_wide(number)
    assert from_wide(stored) == number
    assert isinstance(stored, bytes) == (not -(2**63) <= number < 2**63)


@pytest.mark.parametrize("edge", [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 0])
def test_edges_come_back(edge: int) -> None:
    assert from_wide(to_wide(edge)) == edge


@pytest.mark.parametrize("stored", [None, b""])
def test_what_is_not_a_number_is_damage(stored: Wide | None) -> None:
    with pytest.raises(BadRow):
        from_wide(stored)


@pytest.mark.parametrize("stored", [b"", b"/etc", b"a/../b", b"a\0"])
def test_what_is_not_a_path_is_damage(stored: bytes) -> None:
    with pytest.raises(BadRow):
        from_path(stored)


def test_what_is_not_a_member_is_damage() -> None:
    assert from_text(Role, "b") is Role.B
    with pytest.raises(BadRow):
        from_text(Role, "c")


@given(states)
def test_entries_come_back(entry: Entry | None) -> None:
    assert exact(decode(encode(entry))) == exact(entry)


DIGEST = b"d" * 32


@pytest.mark.parametrize(
    "row",
    [
        (4, DIGEST, 1, 1, 0o644, None),
        (1, None, 1, 1, 0o644, None),
        (1, DIGEST[:-1], 1, 1, 0o644, None),
        (1, DIGEST, None, 1, 0o644, None),
        (1, DIGEST, -1, 1, 0o644, None),
        (1, DIGEST, 1, None, 0o644, None),
        (1, DIGEST, 1, 1, None, None),
        (1, DIGEST, 1, 1, 0o4755, None),
        (2, None, None, None, None, None),
        (2, None, None, None, -1, None),
        (3, None, None, 1, None, None),
        (3, None, None, None, None, b"target"),
    ],
)
def test_what_is_not_an_entry_is_damage(row: EntryRow) -> None:
    with pytest.raises(BadRow):
        decode(row)


def test_absence_is_not_an_entry_where_one_must_be() -> None:
    assert decode(encode(None)) is None
    with pytest.raises(BadRow):
        decode_present(encode(None))
