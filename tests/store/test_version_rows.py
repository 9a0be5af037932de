from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Digest, Entry, size_of
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.limits import KEPT_BYTES_MIN
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
        assert all(row.size == max(size_of(row.entry), KEPT_BYTES_MIN) for row in expected)
        assert version_rows.total_size(connection) == sum(row.size for row in expected)
        assert version_rows.files(connection) == {row.file for row in expected}


def test_the_last_and_by_content(database: Database) -> None:
    with database.transaction() as connection:
        assert version_rows.last(connection) is None
        first = version_rows.add(connection, A, FILE, kept_ns=20, why=Why.REPLACED, file="1")
        second = version_rows.add(connection, A, OTHER, kept_ns=10, why=Why.DELETED, file="2")
        third = version_rows.add(connection, B, FILE, kept_ns=5, why=Why.CONFLICT, file="3")
    with database.transaction() as connection:
        last = version_rows.last(connection)
        assert last is not None
        assert last.number == third, "the order is that of keeping; clocks go back"
        numbers = {
            digest: [row.number for row in version_rows.with_digest(connection, digest)]
            for digest in (FILE.digest, OTHER.digest, Digest(b"0" * 32))
        }
        assert list(numbers.values()) == [[third, first], [second], []]
        assert version_rows.get(connection, third + 1) is None


def test_what_expired(database: Database) -> None:
    with database.transaction() as connection:
        numbers = [
            version_rows.add(connection, A, FILE, kept_ns=kept_ns, why=Why.REPLACED, file=str(kept_ns))
            for kept_ns in (10, 30, 20)
        ]
    with database.transaction() as connection:
        assert [row.number for row in version_rows.expired(connection, 30)] == [numbers[0], numbers[2]]
        assert list(version_rows.expired(connection, 10)) == []


@on_disk
@given(rows=st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 9))), size_max=st.integers(0, 9))
def test_what_can_be_spared_first(database: Database, rows: list[tuple[RelPath, int]], size_max: int) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM versions")
        kept = [
            (version_rows.add(connection, path, FILE._replace(size=n), kept_ns=0, why=Why.REPLACED, file=""), path, n)
            for path, n in rows
        ]
        found = [row.number for row in version_rows.dispensable(connection, size_max)]
    newest = {path: number for number, path, _ in kept}
    rank = {
        number: (size <= size_max, size <= size_max and newest[path] == number, number) for number, path, size in kept
    }
    assert found == sorted((number for number, _, _ in kept[:-1]), key=rank.__getitem__)


def test_what_was_given_up_is_remembered_until_its_file_is_gone(database: Database) -> None:
    with database.transaction() as connection:
        for file in ("1", "2", "3"):
            version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file=file)
        version_rows.discard(connection, list(reversed(version_rows.of_path(connection, A)))[:2])
    with database.transaction() as connection:
        assert version_rows.files(connection) == {"3"}
        assert version_rows.discarded(connection) == ["1", "2"]
        version_rows.forget_discarded(connection, ["1"])
        assert version_rows.discarded(connection) == ["2"]


def test_a_number_is_never_given_twice(database: Database) -> None:
    with database.transaction() as connection:
        version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="1")
        second = version_rows.add(connection, A, FILE, kept_ns=1, why=Why.REPLACED, file="2")
    with database.transaction() as connection:
        version_rows.discard(connection, version_rows.of_path(connection, A))
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
        assert version_rows.total_size(connection) == 2 * KEPT_BYTES_MIN


def test_looking_up_uses_the_indexes(database: Database) -> None:
    with database.transaction() as connection:
        for condition, index in (("path = x'61'", "versions_by_path"), ("digest = x'61'", "versions_by_digest")):
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM versions WHERE {condition} ORDER BY number DESC LIMIT 1"
            ).fetchall()
            assert len(plan) == 1
            assert index in plan[0][3]
