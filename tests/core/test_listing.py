"""The composite listing."""

from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Role
from dirsync.core.listing import Row, Standing, composite
from dirsync.core.paths import RelPath, parse_path, to_text
from tests.support.trees import at

ONE, TWO = Standing(1, 10), Standing(2, 20)
NONE: frozenset[RelPath] = frozenset()


def only(rows: list[Row]) -> Row:
    assert len(rows) == 1
    return rows[0]


def test_empty() -> None:
    assert composite({}, {}, NONE, {}) == []


def test_same_on_both() -> None:
    row = only(composite({at("f"): ONE}, {at("f"): ONE}, NONE, {}))
    assert row == Row(0, at("f"), 1, 10, (Role.A, Role.B), (ONE, ONE), False, False, 0)


def test_different_shows_a() -> None:
    row = only(composite({at("f"): ONE}, {at("f"): TWO}, NONE, {}))
    assert row == Row(0, at("f"), 1, 10, (Role.A, Role.B), (ONE, TWO), True, False, 0)


def test_contents_that_differ_though_size_and_time_do_not() -> None:
    assert only(composite({at("f"): ONE}, {at("f"): ONE}, frozenset({at("f")}), {})).is_different


def test_only_a() -> None:
    row = only(composite({at("f"): ONE}, {}, frozenset({at("f")}), {}))
    assert row == Row(0, at("f"), 1, 10, (Role.A,), (ONE,), False, False, 0)


def test_only_b_shows_b() -> None:
    row = only(composite({}, {at("f"): TWO}, NONE, {}))
    assert row == Row(0, at("f"), 2, 20, (Role.B,), (TWO,), False, False, 0)


def test_locked() -> None:
    rows = composite({at("f"): ONE, at("g"): ONE, at("h"): ONE}, {}, NONE, {at("g"): 0, at("h"): 3, at("gone"): 2})
    assert [(row.path, row.is_locked, row.queued) for row in rows] == [
        (at("f"), False, 0),
        (at("g"), True, 0),
        (at("h"), True, 3),
    ]


def test_order_is_by_code_point() -> None:
    """Not by bytes: a byte that is not UTF-8 becomes a surrogate, which sorts below U+E000 and all beyond it."""
    names = ["A", "Z", "a", "a b", "a/b", "aa", "ä", "\udcff", "\ue000", "😀"]
    paths = [parse_path(name.encode("utf-8", "surrogateescape")) for name in names]
    rows = composite(dict.fromkeys(reversed(paths), ONE), {}, NONE, {})
    assert [to_text(row.path) for row in rows] == names
    assert [row.path for row in rows] != sorted(paths)


INVENTORIES = st.dictionaries(
    st.sampled_from([RelPath(name) for name in (b"a", b"B", b"\xff", b"c/d", "ä".encode(), "\uff00".encode())]),
    st.sampled_from([ONE, TWO]),
)


@given(INVENTORIES, INVENTORIES)
def test_one_row_per_name(a: dict[RelPath, Standing], b: dict[RelPath, Standing]) -> None:
    rows = composite(a, b, NONE, {})
    assert [row.index for row in rows] == list(range(len(rows)))
    assert {row.path for row in rows} == a.keys() | b.keys()
    texts = [[ord(char) for char in to_text(row.path)] for row in rows]
    assert texts == sorted(texts)
    for row in rows:
        holders = {Role.A: a, Role.B: b}
        assert row.servers == tuple(role for role in Role if row.path in holders[role])
        assert row.versions == tuple(holders[role][row.path] for role in row.servers)
        assert row.is_different == (len(set(row.versions)) == 2)
