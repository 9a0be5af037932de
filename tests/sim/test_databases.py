"""The database of a simulation: what a kill and what a power cut leave of it."""

import pytest

from dirsync.errors import StateError
from tests.sim.databases import SimDatabase, SimSqlite, make_template


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.setattr("dirsync.store.database.sqlite3", SimSqlite(lambda *_: None))
    make_template(tmp_path / "template")
    database = SimDatabase(tmp_path / "state", tmp_path / "template")
    database.open()
    yield database
    database.kill()


def put(database, key, *, is_synced):
    with database.opened.transaction(is_synced=is_synced) as connection:
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, b""))


def kept(database):
    database.open()
    with database.opened.transaction() as connection:
        return [key for (key,) in connection.execute("SELECT key FROM meta WHERE value = x'' ORDER BY key")]


def test_a_kill_leaves_everything_that_was_committed(database):
    put(database, "a", is_synced=True)
    put(database, "b", is_synced=False)
    database.kill()
    assert kept(database) == ["a", "b"]


def test_a_power_cut_leaves_what_was_synced_and_takes_what_was_committed_since(database):
    put(database, "a", is_synced=False)
    put(database, "b", is_synced=True)
    put(database, "c", is_synced=False)
    database.power_cut()
    assert kept(database) == ["a", "b"]


def test_a_power_cut_within_a_transaction_that_is_not_to_be_synced_leaves_what_was_before_it(database):
    put(database, "a", is_synced=True)

    def cut_within():
        with database.opened.transaction(is_synced=False):
            database.power_cut()

    with pytest.raises(StateError):
        cut_within()
    assert kept(database) == ["a"]
