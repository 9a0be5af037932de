"""The outbox of a replica: held names, and their captured states."""

from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.core.reports import HeldName
from dirsync.store import capture_rows, held_names
from dirsync.store.capture_rows import CaptureRow
from dirsync.store.database import Database
from tests.store.support import FILE, OTHER, exact, on_disk, paths, states

A, B = RelPath(b"a"), RelPath(b"b")


@on_disk
@given(rows=st.lists(st.tuples(paths, states, st.none() | st.text("abc0-")), max_size=12))
def test_captures_come_back_in_order(database: Database, rows: list[tuple[RelPath, Entry | None, str | None]]) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM captures")
        expected = [CaptureRow(capture_rows.add(connection, *row), *row) for row in rows]
    with database.transaction() as connection:
        found = capture_rows.load(connection)
        assert found == expected
        assert [exact(row.entry) for row in found] == [exact(row.entry) for row in expected]
        assert [capture_rows.get(connection, row.id) for row in expected] == expected
    ids = [row.id for row in expected]
    assert ids == sorted(set(ids))


def test_removing_names_the_files(database: Database) -> None:
    with database.transaction() as connection:
        one = capture_rows.add(connection, A, FILE, "1")
        gone = capture_rows.add(connection, A, FILE, None)
        two = capture_rows.add(connection, A, OTHER, "2")
        rest = capture_rows.add(connection, B, OTHER, "3")
        assert capture_rows.total_size(connection) == FILE.size + 2 * OTHER.size
    with database.transaction() as connection:
        assert capture_rows.remove(connection, [one, gone, rest + 100]) == ["1"]
        assert [row.id for row in capture_rows.load(connection)] == [two, rest]
        assert capture_rows.get(connection, one) is None
        assert capture_rows.remove_path(connection, A) == ["2"]
        assert [row.id for row in capture_rows.load(connection)] == [rest]
        assert capture_rows.total_size(connection) == OTHER.size
        assert capture_rows.remove_path(connection, B) == ["3"]
        assert capture_rows.total_size(connection) == 0
        assert capture_rows.add(connection, A, None, None) > rest, "a number is never given twice"


@on_disk
@given(rows=st.lists(st.tuples(paths, states), max_size=8))
def test_held_names_come_back(database: Database, rows: list[tuple[RelPath, Entry | None]]) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM held_names")
        for path, seen in rows:
            held_names.put(connection, path, seen)
    expected = [HeldName(path, seen) for path, seen in sorted(dict(rows).items())]
    with database.transaction() as connection:
        found = held_names.load(connection)
        assert found == expected
        assert [exact(name.seen) for name in found] == [exact(name.seen) for name in expected]


def test_a_name_no_longer_held(database: Database) -> None:
    with database.transaction() as connection:
        held_names.put(connection, A, FILE)
        held_names.put(connection, B, None)
        held_names.remove(connection, A)
        held_names.remove(connection, A)
        assert held_names.load(connection) == [HeldName(B, None)]
