"""The archive and the index: whole tables by path."""

import gc
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Entry
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.store import archive, index_rows
from dirsync.store.bulk import collection_paused
from dirsync.store.database import Database
from tests.store.support import FILE, OTHER, entries, exact, knowns, on_disk, paths

A, B = RelPath(b"a"), RelPath(b"b")
KNOWN = Known(FILE, Fingerprint(1, 2, 3, 4, 0o100644), 5)


@on_disk
@given(batches=st.lists(st.lists(st.tuples(paths, st.none() | entries), max_size=8), max_size=4))
def test_the_archive_is_what_was_recorded(
    database: Database, batches: list[list[tuple[RelPath, Entry | None]]]
) -> None:
    expected: dict[RelPath, Entry] = {}
    with database.transaction() as connection:
        archive.clear(connection)
    for batch in batches:
        with database.transaction() as connection:
            archive.record(connection, iter(batch))
        for path, entry in batch:
            if entry is None:
                expected.pop(path, None)
            else:
                expected[path] = entry
    with database.transaction() as connection:
        found = list(archive.load(connection))
    assert [(path, exact(entry)) for path, entry in found] == [(p, exact(e)) for p, e in sorted(expected.items())]


@on_disk
@given(batches=st.lists(st.lists(st.tuples(paths, st.none() | knowns), max_size=8), max_size=4))
def test_the_index_is_what_was_saved(database: Database, batches: list[list[tuple[RelPath, Known | None]]]) -> None:
    expected: dict[RelPath, Known] = {}
    with database.transaction() as connection:
        index_rows.clear(connection)
    for batch in batches:
        with database.transaction() as connection:
            index_rows.save(connection, iter(batch))
        for path, known in batch:
            if known is None:
                expected.pop(path, None)
            else:
                expected[path] = known
    with database.transaction() as connection:
        found = list(index_rows.load(connection))
    assert found == sorted(expected.items(), key=lambda row: row[0])
    assert [exact(known.entry) for _, known in found] == [exact(expected[path].entry) for path, _ in found]


def test_the_last_of_several_rows_counts(database: Database) -> None:
    with database.transaction() as connection:
        archive.record(connection, [(A, FILE), (A, None), (B, None), (B, FILE), (B, OTHER)])
        assert list(archive.load(connection)) == [(B, OTHER)]


def test_none_removes_what_was_there(database: Database) -> None:
    with database.transaction() as connection:
        archive.record(connection, [(A, FILE), (B, FILE)])
        index_rows.save(connection, [(A, KNOWN), (B, KNOWN)])
    with database.transaction() as connection:
        archive.record(connection, [(A, None)])
        index_rows.save(connection, [(A, None)])
    with database.transaction() as connection:
        assert list(archive.load(connection)) == [(B, FILE)]
        assert list(index_rows.load(connection)) == [(B, KNOWN)]


def test_clearing_leaves_the_other_table_alone(database: Database) -> None:
    with database.transaction() as connection:
        archive.record(connection, [(A, FILE)])
        index_rows.save(connection, [(A, KNOWN)])
        archive.clear(connection)
        assert list(archive.load(connection)) == []
        assert list(index_rows.load(connection)) == [(A, KNOWN)]
        index_rows.clear(connection)
        assert list(index_rows.load(connection)) == []


def test_a_number_that_is_text_cannot_be_written(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO archive (path, kind, mode) VALUES (x'61', 'two', 1)")


def test_the_collector_rests_while_a_table_is_loaded_and_only_then(database: Database) -> None:
    assert gc.isenabled()
    with database.transaction() as connection:
        archive.record(connection, [(A, FILE), (B, FILE)])
        index_rows.save(connection, [(A, KNOWN), (B, KNOWN)])
        for load in (archive.load, index_rows.load):
            assert [gc.isenabled() for _ in load(connection)] == [False, False]
            assert gc.isenabled()
        one, two = archive.load(connection), index_rows.load(connection)
        next(one)
        next(two)
        assert not gc.isenabled()
        assert list(one) == [(B, FILE)]
        assert not gc.isenabled()
        del two
        assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_after_a_doubt_no_stat_proves_what_changed_later(database: Database) -> None:
    def known(ctime_ns: int, looked_ns: int) -> Known:
        return Known(FILE, Fingerprint(1, 2, 3, ctime_ns, 0o100644), looked_ns)

    old, late, newest, far = known(99, 500), known(101, 200), known(900, 1_000), known(2**70, 3)
    with database.transaction() as connection:
        index_rows.save(connection, zip(map(RelPath, (b"a", b"b", b"c", b"d")), (old, late, newest, far), strict=True))
        index_rows.doubt_after(connection, 100)
        looked = {path: known.looked_ns for path, known in index_rows.load(connection)}
    assert looked == {b"a": 500, b"b": 0, b"c": 0, b"d": 0}
