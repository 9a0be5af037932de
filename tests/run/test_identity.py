"""Who a server is, across restarts."""

import pytest

from dirsync.core.entry import Role
from dirsync.run import identity
from dirsync.store.database import Database


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path)
    yield opened
    opened.close()


def test_a_pair_id_is_made_once(database):
    assert identity.pair_id(database) == b""
    made = identity.make_pair_id(database)
    assert len(made) == 16
    assert identity.make_pair_id(database) == identity.pair_id(database) == made


def test_a_learnt_pair_id_is_ours_from_then_on(database):
    identity.learn_pair_id(database, b"theirs")
    assert identity.make_pair_id(database) == b"theirs"


def test_the_partners_are_remembered_by_role(database):
    identity.learn_partner(database, Role.B, b"b")
    assert identity.partner(database, Role.A) == b""
    assert identity.partner(database, Role.B) == b"b"


def test_a_state_knows_its_epochs_and_no_later_ones(database, tmp_path):
    assert identity.has_epoch(database, 0)
    epochs = [identity.new_epoch(database) for _ in range(20)]
    assert len(set(epochs)) == 20
    assert all(identity.has_epoch(database, epoch) for epoch in epochs)
    copy = Database.open(tmp_path / "copy")
    with database.transaction() as old, copy.transaction() as new:
        new.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", old.execute("SELECT key, value FROM meta").fetchall()
        )
    later = identity.new_epoch(database)
    identity.new_epoch(copy)
    assert not identity.has_epoch(copy, later)
    assert identity.has_epoch(copy, epochs[-1])
    copy.close()


def test_of_very_many_epochs_the_last_are_known(database, monkeypatch):
    monkeypatch.setattr(identity, "_EPOCHS_MAX", 3)
    epochs = [identity.new_epoch(database) for _ in range(5)]
    assert [identity.has_epoch(database, epoch) for epoch in epochs] == [False, False, True, True, True]


def test_the_epoch_of_the_other_server_is_remembered(database):
    assert identity.seen_epoch(database) == 0
    identity.learn_epoch(database, 2**62)
    assert identity.seen_epoch(database) == 2**62


def test_all_of_it_survives_a_restart(tmp_path):
    database = Database.open(tmp_path)
    made = identity.make_pair_id(database)
    identity.learn_partner(database, Role.B, b"b")
    epoch = identity.new_epoch(database)
    database.close()
    database = Database.open(tmp_path)
    assert identity.pair_id(database) == made
    assert identity.partner(database, Role.B) == b"b"
    assert identity.has_epoch(database, epoch)
    database.close()
