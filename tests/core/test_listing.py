"""The composite listing."""

from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Directory, Entry, File, Role, Symlink
from dirsync.core.listing import Row, Standing, composite
from dirsync.core.paths import RelPath, parse_path, to_text
from tests.support.fake_replica import digest_of
from tests.support.trees import at

ONE, TWO = Standing(1, 10), Standing(2, 20)
NONE: frozenset[RelPath] = frozenset()


def listed(
    a: dict[RelPath, Standing],
    b: dict[RelPath, Standing],
    differing: frozenset[RelPath] = NONE,
    locked: dict[RelPath, int] | None = None,
) -> list[Row]:
    """List two replicas that agree on nothing."""
    return list(composite({}, {Role.A: a, Role.B: b}, differing, locked or {}))


def only(rows: list[Row]) -> Row:
    assert len(rows) == 1
    return rows[0]


def test_empty() -> None:
    assert listed({}, {}) == []


def test_same_on_both() -> None:
    row = only(listed({at("f"): ONE}, {at("f"): ONE}))
    assert row == Row(at("f"), 1, 10, (Role.A, Role.B))


def test_different_shows_a() -> None:
    row = only(listed({at("f"): ONE}, {at("f"): TWO}))
    assert row == Row(at("f"), 1, 10, (Role.A, Role.B), (ONE, TWO))


def test_contents_that_differ_though_size_and_time_do_not() -> None:
    assert only(listed({at("f"): ONE}, {at("f"): ONE}, frozenset({at("f")}))).versions == (ONE, ONE)


def test_only_a() -> None:
    row = only(listed({at("f"): ONE}, {}, frozenset({at("f")})))
    assert row == Row(at("f"), 1, 10, (Role.A,))


def test_only_b_shows_b() -> None:
    row = only(listed({}, {at("f"): TWO}))
    assert row == Row(at("f"), 2, 20, (Role.B,))


def test_locked() -> None:
    rows = listed({at("f"): ONE, at("g"): ONE, at("h"): ONE}, {}, NONE, {at("g"): 0, at("h"): 3, at("gone"): 2})
    assert [(row.path, row.is_locked, row.queued) for row in rows] == [
        (at("f"), False, 0),
        (at("g"), True, 0),
        (at("h"), True, 3),
    ]


def test_order_is_by_code_point() -> None:
    """Not by bytes: a byte that is not UTF-8 becomes a surrogate, which sorts below U+E000 and all beyond it."""
    names = ["A", "Z", "a", "a b", "a/b", "aa", "ä", "\udcff", "\ue000", "😀"]
    paths = [parse_path(name.encode("utf-8", "surrogateescape")) for name in names]
    rows = listed(dict.fromkeys(reversed(paths), ONE), {})
    assert [to_text(row.path) for row in rows] == names
    assert [row.path for row in rows] != sorted(paths)


INVENTORIES = st.dictionaries(
    st.sampled_from([RelPath(name) for name in (b"a", b"B", b"\xff", b"c/d", "ä".encode(), "\uff00".encode())]),
    st.sampled_from([ONE, TWO]),
)


@given(INVENTORIES, INVENTORIES)
def test_one_row_per_name(a: dict[RelPath, Standing], b: dict[RelPath, Standing]) -> None:
    rows = listed(a, b)
    assert len(rows) == len({row.path for row in rows})
    assert {row.path for row in rows} == a.keys() | b.keys()
    texts = [[ord(char) for char in to_text(row.path)] for row in rows]
    assert texts == sorted(texts)
    for row in rows:
        holders = {Role.A: a, Role.B: b}
        assert row.servers == tuple(role for role in Role if row.path in holders[role])
        held = tuple(holders[role][row.path] for role in row.servers)
        assert (row.size, row.mtime_ns) == held[0]
        assert row.versions == (held if len(set(held)) == 2 else ())


F = File(digest_of(b"f"), 3, 30, 0o644)
AGREED: dict[RelPath, Entry] = {at("d"): Directory(0o755), at("f"): F, at("l"): Symlink(b"four", 40), at("z"): F}


def test_what_is_agreed_stands_at_both_unless_a_replica_says_otherwise() -> None:
    own = {Role.A: {at("f"): ONE, at("new"): TWO}, Role.B: {at("z"): None, at("d"): ONE}}
    assert list(composite(AGREED, own, NONE, {at("l"): 2})) == [
        Row(at("d"), 1, 10, (Role.B,)),
        Row(at("f"), 1, 10, (Role.A, Role.B), (ONE, Standing(3, 30))),
        Row(at("l"), 4, 40, (Role.A, Role.B), is_locked=True, queued=2),
        Row(at("new"), 2, 20, (Role.A,)),
        Row(at("z"), 3, 30, (Role.A,)),
    ]


def test_a_replica_that_is_left_out_holds_nothing() -> None:
    assert [row.servers for row in composite(AGREED, {Role.A: {}}, NONE, {})] == [(Role.A,)] * 3
