import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import ChangeKind, Entry, Role
from dirsync.core.paths import RelPath
from dirsync.errors import StateError
from dirsync.store import hold_rows
from dirsync.store.database import Database
from dirsync.store.hold_rows import LockRow, UpdateRow
from tests.store.support import FILE, OTHER, exact, on_disk, paths, sizes, stamps, states

A, B = RelPath(b"a"), RelPath(b"b")


def enqueue(database: Database, path: RelPath, file: str | None = None, size: int = 0) -> int:
    with database.transaction() as connection:
        return hold_rows.enqueue(
            connection, path, Role.B, FILE, change=ChangeKind.MODIFIED, file=file, size=size, received_ns=1
        )


def lock(database: Database, path: RelPath) -> None:
    with database.transaction() as connection:
        hold_rows.lock(connection, path, 1, FILE, OTHER)


@on_disk
@given(rows=st.dictionaries(paths, st.tuples(stamps, states, states, states, states), max_size=6))
def test_locks_come_back(
    database: Database,
    rows: dict[RelPath, tuple[int, Entry | None, Entry | None, Entry | None, Entry | None]],
) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM locks")
        for path, (since_ns, seen_a, seen_b, _, _) in rows.items():
            hold_rows.lock(connection, path, since_ns, seen_a, seen_b)
    with database.transaction() as connection:
        found = hold_rows.load_locks(connection)
        assert found == [
            LockRow(path, since_ns, False, "", seen_a, seen_b)
            for path, (since_ns, seen_a, seen_b, _, _) in sorted(rows.items(), key=lambda row: row[0])
        ]
        for path, (_, _, _, later_a, later_b) in rows.items():
            hold_rows.set_seen(connection, path, later_a, later_b)
    with database.transaction() as connection:
        for row in hold_rows.load_locks(connection):
            _, _, _, later_a, later_b = rows[row.path]
            assert (exact(row.seen_a), exact(row.seen_b)) == (exact(later_a), exact(later_b))


_updates = st.tuples(
    st.sampled_from([A, B]),
    st.sampled_from(Role),
    states,
    st.sampled_from(ChangeKind),
    st.none() | st.text("abc0-"),
    sizes,
    stamps,
)


@on_disk
@given(rows=st.lists(_updates, max_size=8))
def test_updates_come_back_in_order(
    database: Database,
    rows: list[tuple[RelPath, Role, Entry | None, ChangeKind, str | None, int, int]],
) -> None:
    expected = []
    with database.transaction() as connection:
        connection.execute("DELETE FROM updates")
        connection.execute("DELETE FROM locks")
        hold_rows.lock(connection, A, 1, None, None)
        hold_rows.lock(connection, B, 1, None, None)
        for path, origin, entry, change, file, size, received_ns in rows:
            number = hold_rows.enqueue(
                connection, path, origin, entry, change=change, file=file, size=size, received_ns=received_ns
            )
            expected.append(UpdateRow(number, path, origin, entry, change, file, size, received_ns))
    with database.transaction() as connection:
        found = hold_rows.load_updates(connection)
        assert found == expected
        assert [exact(row.entry) for row in found] == [exact(row.entry) for row in expected]
        assert hold_rows.spool_files(connection) == {row.file for row in expected if row.file is not None}


def test_the_spool_needs_what_an_update_names(database: Database) -> None:
    lock(database, A)
    first = enqueue(database, A, "1", 10)
    enqueue(database, A, "2", 20)
    enqueue(database, A, None, 500)
    with database.transaction() as connection:
        hold_rows.remove_update(connection, first)
        assert hold_rows.spool_files(connection) == {"2"}


def test_draining_is_noted_with_its_reason(database: Database) -> None:
    lock(database, A)
    lock(database, B)
    with database.transaction() as connection:
        hold_rows.set_draining(connection, A, True, "it cannot be written")
    with database.transaction() as connection:
        rows = {row.path: (row.is_draining, row.reason) for row in hold_rows.load_locks(connection)}
    assert rows == {A: (True, "it cannot be written"), B: (False, "")}


def test_a_lock_with_updates_cannot_be_dropped(database: Database) -> None:
    lock(database, A)
    update = enqueue(database, A)
    with pytest.raises(StateError, match="FOREIGN KEY"), database.transaction() as connection:
        hold_rows.unlock(connection, A)
    with database.transaction() as connection:
        assert [row.path for row in hold_rows.load_locks(connection)] == [A]
        hold_rows.remove_update(connection, update)
        hold_rows.unlock(connection, A)
        assert hold_rows.load_locks(connection) == []


def test_an_update_without_its_lock_cannot_be(database: Database) -> None:
    with pytest.raises(StateError, match="FOREIGN KEY"):
        enqueue(database, A)


def test_a_name_is_locked_once(database: Database) -> None:
    lock(database, A)
    with pytest.raises(StateError, match="UNIQUE"):
        lock(database, A)


def test_an_id_is_never_given_twice(database: Database) -> None:
    lock(database, A)
    first = enqueue(database, A)
    with database.transaction() as connection:
        hold_rows.remove_update(connection, first)
    assert enqueue(database, A) > first
