from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Digest, Entry, size_of
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.store import version_rows
from dirsync.store.database import Database
from dirsync.store.version_rows import VersionRow
from tests.store.support import FILE, OTHER, entries_sized, exact, on_disk, paths, small_sizes, stamps

A, B = RelPath(b"a"), RelPath(b"b")


@on_disk
@given(rows=st.lists(st.tuples(paths, entries_sized(small_sizes), stamps, st.sampled_from(Why), st.text("abc0-"))))
def test_versions_come_back(database: Database, rows: list[tuple[RelPath, Entry, int, Why, str]]) -> None:
    expected = []
    with database.transaction() as connection:
        connection.execute("DELETE FROM versions")
        for path, entry, kept_ns, why, file in rows:
            number = version_rows.add(connection, path, entry, kept_ns=kept_ns, why=why, file=file)
            expected.append(VersionRow(number, path, entry, kept_ns, why, file))
    with database.transaction() as connection:
        found = [version_rows.get(connection, row.number) for row in expected]
        assert found == expected
        assert [row and exact(row.entry) for row in found] == [exact(row.entry) for row in expected]
        for row in expected:
            assert version_rows.of_path(connection, row.path) == [r for r in reversed(expected) if r.path == row.path]
        assert version_rows.total_size(connection) == sum(size_of(row.entry) for row in expected)
        assert version_rows.total_size(connection) == sum(row.size for row in expected)
        assert version_rows.files(connection) == {row.file for row in expected}


def test_newest_oldest_and_by_content(database: Database) -> None:
    with database.transaction() as connection:
        assert version_rows.newest(connection, A) is None
        assert version_rows.oldest(connection) is None
        first = version_rows.add(connection, A, FILE, kept_ns=20, why=Why.REPLACED, file="1")
        second = version_rows.add(connection, A, OTHER, kept_ns=10, why=Why.DELETED, file="2")
        third = version_rows.add(connection, B, FILE, kept_ns=30, why=Why.CONFLICT, file="3")
    with database.transaction() as connection:
        newest, oldest = version_rows.newest(connection, A), version_rows.oldest(connection)
        assert newest is not None
        assert newest.number == second, "the order is that of keeping; clocks go back"
        assert oldest is not None
        assert oldest.number == first
        same, other = version_rows.by_digest(connection, FILE.digest), version_rows.by_digest(connection, OTHER.digest)
        assert same is not None
        assert other is not None
        assert (same.number, other.number) == (third, second)
        assert version_rows.by_digest(connection, Digest(b"0" * 32)) is None
        assert version_rows.get(connection, third + 1) is None


def test_what_expired(database: Database) -> None:
    with database.transaction() as connection:
        numbers = [
            version_rows.add(connection, A, FILE, kept_ns=kept_ns, why=Why.REPLACED, file=str(kept_ns))
            for kept_ns in (10, 30, 20)
        ]
    with database.transaction() as connection:
        assert [row.number for row in version_rows.expired(connection, 30)] == [numbers[0], numbers[2]]
        assert version_rows.expired(connection, 10) == []


def test_a_number_is_never_given_twice(database: Database) -> None:
    with database.transaction() as connection:
        first = version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="1")
        second = version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="2")
    with database.transaction() as connection:
        version_rows.remove(connection, [first, second])
        assert version_rows.of_path(connection, A) == []
        assert version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="3") > second


def test_a_corrected_entry(database: Database) -> None:
    with database.transaction() as connection:
        number = version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="1")
        untouched = version_rows.add(connection, B, FILE, kept_ns=1, why=Why.REPLACED, file="2")
        version_rows.set_entry(connection, number, OTHER)
    with database.transaction() as connection:
        assert version_rows.get(connection, number) == VersionRow(number, A, OTHER, 1, Why.REPLACED, "1")
        assert version_rows.get(connection, untouched) == VersionRow(untouched, B, FILE, 1, Why.REPLACED, "2")
        assert version_rows.total_size(connection) == OTHER.size + FILE.size


def test_looking_up_uses_the_indexes(database: Database) -> None:
    with database.transaction() as connection:
        for condition, index in (("path = x'61'", "versions_by_path"), ("digest = x'61'", "versions_by_digest")):
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM versions WHERE {condition} ORDER BY number DESC LIMIT 1"
            ).fetchall()
            assert len(plan) == 1
            assert index in plan[0][3]
