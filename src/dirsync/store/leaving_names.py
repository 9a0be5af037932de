"""Names that are being moved to the kept files and stand in no index row; a crash must not make them nameless."""

import sqlite3
from collections.abc import Iterable

from dirsync.core.paths import RelPath
from dirsync.store.columns import from_path


def add(connection: sqlite3.Connection, paths: Iterable[RelPath]) -> None:
    """Note names before anything is moved."""
    connection.executemany("INSERT OR IGNORE INTO leaving_names (path) VALUES (?)", ((path,) for path in paths))


def add_indexed(connection: sqlite3.Connection) -> None:
    """Note every name of the index, which is about to be cleared."""
    connection.execute("INSERT OR IGNORE INTO leaving_names (path) SELECT path FROM index_entries")


def remove(connection: sqlite3.Connection, paths: Iterable[RelPath]) -> None:
    """Forget names whose files have a row, or were never moved."""
    connection.executemany("DELETE FROM leaving_names WHERE path = ?", ((path,) for path in paths))


def load(connection: sqlite3.Connection) -> list[RelPath]:
    """Return every name, in the order of paths as bytes. Raises BadRow."""
    return [from_path(path) for (path,) in connection.execute("SELECT path FROM leaving_names ORDER BY path")]
