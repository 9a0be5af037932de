"""Single values by name: identities, epochs and the like. Their meaning belongs to those who name them."""

import sqlite3


def get(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return the value, or None where there is none."""
    row: tuple[bytes] | None = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def put(connection: sqlite3.Connection, key: str, value: bytes) -> None:
    """Set the value, replacing one that is there."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def remove(connection: sqlite3.Connection, key: str) -> None:
    """Remove the value if it is there."""
    connection.execute("DELETE FROM meta WHERE key = ?", (key,))
