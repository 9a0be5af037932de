"""The archive: the base of every path, the entry on which both replicas last agreed."""

import sqlite3
from collections.abc import Iterable, Iterator

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.store.bulk import collection_paused
from dirsync.store.columns import from_path
from dirsync.store.entry_rows import decode_present, encode


def load(connection: sqlite3.Connection) -> Iterator[tuple[RelPath, Entry]]:
    """Yield every base, in the order of paths as bytes. Raises BadRow."""
    rows = connection.execute("SELECT path, kind, digest, size, mtime_ns, mode, target FROM archive ORDER BY path")
    with collection_paused():
        for row in rows:
            yield from_path(row[0]), decode_present(row[1:])


def record(connection: sqlite3.Connection, rows: Iterable[tuple[RelPath, Entry | None]]) -> None:
    """Advance the bases; None removes one. Of several rows for a path the last counts."""
    last = dict(rows)
    connection.executemany(
        "INSERT OR REPLACE INTO archive (path, kind, digest, size, mtime_ns, mode, target)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((path, *encode(entry)) for path, entry in last.items() if entry is not None),
    )
    connection.executemany(
        "DELETE FROM archive WHERE path = ?", ((path,) for path, entry in last.items() if entry is None)
    )


def clear(connection: sqlite3.Connection) -> None:
    """Forget every base: the next comparison is a first run."""
    connection.execute("DELETE FROM archive")
