from dirsync.store import meta
from dirsync.store.database import Database


def test_values_by_name(database: Database) -> None:
    with database.transaction() as connection:
        assert meta.get(connection, "one") is None
        meta.put(connection, "one", b"")
        meta.put(connection, "two", b"\0\xff")
        assert meta.get(connection, "one") == b""
        meta.put(connection, "one", b"later")
    with database.transaction() as connection:
        assert meta.get(connection, "one") == b"later"
        meta.remove(connection, "one")
        meta.remove(connection, "one")
        assert meta.get(connection, "one") is None
        assert meta.get(connection, "two") == b"\0\xff"
