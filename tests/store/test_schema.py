import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dirsync.store import schema
from dirsync.store.database import Database


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as opened:
        yield opened


def version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_steps_are_numbered_from_one_without_a_gap() -> None:
    assert [number for number, _ in schema.steps()] == list(range(1, len(schema.steps()) + 1))


def test_from_empty_to_the_newest_and_again(connection: sqlite3.Connection) -> None:
    schema.migrate(connection)
    assert version(connection) == schema.steps()[-1][0]
    before = tables(connection)
    schema.migrate(connection)
    assert tables(connection) == before


def test_every_table_is_strict(database: Database) -> None:
    with database.transaction() as connection:
        loose = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        assert len(tables(connection)) > 5
    assert loose == []


def test_only_missing_steps_are_taken(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "steps", lambda: [(1, "CREATE TABLE one (a);")])
    schema.migrate(connection)
    connection.execute("INSERT INTO one VALUES (1)")
    monkeypatch.setattr(
        schema, "steps", lambda: [(1, "DROP TABLE one;"), (2, "CREATE TABLE two (a);"), (3, "CREATE TABLE three (a);")]
    )
    schema.migrate(connection)
    assert tables(connection) == {"one", "two", "three"}
    assert version(connection) == 3
    assert connection.execute("SELECT * FROM one").fetchall() == [(1,)]


def test_a_step_that_fails_leaves_the_one_before(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "CREATE TABLE two (a); INSERT INTO nowhere VALUES (1);"
    monkeypatch.setattr(schema, "steps", lambda: [(1, "CREATE TABLE one (a);"), (2, bad)])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection)
    assert tables(connection) == {"one"}
    assert version(connection) == 1
    assert not connection.in_transaction
