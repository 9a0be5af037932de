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


def test_each_start_counts_one_up_also_past_one_byte(database):
    assert [identity.next_epoch(database) for _ in range(300)] == list(range(1, 301))


def test_all_of_it_survives_a_restart(tmp_path):
    database = Database.open(tmp_path)
    made = identity.make_pair_id(database)
    identity.learn_partner(database, Role.B, b"b")
    identity.next_epoch(database)
    database.close()
    database = Database.open(tmp_path)
    assert identity.pair_id(database) == made
    assert identity.partner(database, Role.B) == b"b"
    assert identity.next_epoch(database) == 2
    database.close()
