"""The names this replica was told to capture. They outlast a restart: the other server may be away for long."""

import sqlite3

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.core.reports import HeldName
from dirsync.store.columns import from_path
from dirsync.store.entry_rows import decode, encode


def put(connection: sqlite3.Connection, path: RelPath, seen: Entry | None) -> None:
    """Add a name, or set the last state recorded of it."""
    connection.execute(
        "INSERT OR REPLACE INTO held_names (path, kind, digest, size, mtime_ns, mode, target)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (path, *encode(seen)),
    )


def remove(connection: sqlite3.Connection, path: RelPath) -> None:
    """Remove a name if it is there."""
    connection.execute("DELETE FROM held_names WHERE path = ?", (path,))


def load(connection: sqlite3.Connection) -> list[HeldName]:
    """Return every name, in the order of paths as bytes. Raises BadRow."""
    rows = connection.execute("SELECT path, kind, digest, size, mtime_ns, mode, target FROM held_names ORDER BY path")
    return [HeldName(from_path(row[0]), decode(row[1:])) for row in rows]
