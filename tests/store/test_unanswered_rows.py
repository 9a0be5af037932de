from dirsync.core.entry import Role
from dirsync.core.paths import RelPath
from dirsync.store import unanswered_rows
from dirsync.store.database import Database
from dirsync.store.unanswered_rows import Told
from tests.store.support import FILE

A, B = RelPath(b"a"), RelPath(b"b")


def test_batches_come_back_in_their_order_until_they_are_forgotten(database: Database) -> None:
    with database.transaction(is_synced=False) as connection:
        unanswered_rows.add(connection, 2, Role.B, {B: None, A: FILE})
        unanswered_rows.add(connection, 1, Role.A, {B: FILE})
        first, second = Told(1, B, Role.A, FILE), [Told(2, A, Role.B, FILE), Told(2, B, Role.B, None)]
        assert unanswered_rows.load(connection) == [first, *second]
        unanswered_rows.remove(connection, [2, 3])
        assert unanswered_rows.load(connection) == [first]


def test_what_comes_after_a_transaction_that_is_not_synced_is(database: Database) -> None:
    with database.transaction(is_synced=False) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    with database.transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
