"""The captured states of held names, in the order of capture, until they are durable elsewhere."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.store.columns import from_path
from dirsync.store.entry_rows import EntryRow, decode, encode

_Columns = tuple[int, bytes, *EntryRow, str | None, int]


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """One captured state. `file` names its content among the captured files, None where it has none.

    `given` is not 0 where the other side had it applied here: the number of the held update that it is.
    """

    id: int
    path: RelPath
    entry: Entry | None
    file: str | None
    given: int = 0


def add(connection: sqlite3.Connection, path: RelPath, entry: Entry | None, file: str | None, *, given: int = 0) -> int:
    """Append a captured state and return its number: higher than any before, and never given again."""
    number = connection.execute(
        "INSERT INTO captures (path, kind, digest, size, mtime_ns, mode, target, file, given)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, *encode(entry), file, given),
    ).lastrowid
    assert number is not None
    return number


def load(connection: sqlite3.Connection) -> list[CaptureRow]:
    """Return every capture, in order. Raises BadRow."""
    rows = connection.execute(
        "SELECT id, path, kind, digest, size, mtime_ns, mode, target, file, given FROM captures ORDER BY id"
    )
    return [_decode(row) for row in rows]


def get(connection: sqlite3.Connection, capture: int) -> CaptureRow | None:
    """Return one capture, or None. Raises BadRow."""
    row: _Columns | None = connection.execute(
        "SELECT id, path, kind, digest, size, mtime_ns, mode, target, file, given FROM captures WHERE id = ?",
        (capture,),
    ).fetchone()
    return None if row is None else _decode(row)


def remove(connection: sqlite3.Connection, captures: Iterable[int]) -> list[str]:
    """Remove captures and return their files, which are the caller's to delete after the commit."""
    removed: list[str | None] = []
    for capture in captures:
        removed.extend(
            file for (file,) in connection.execute("DELETE FROM captures WHERE id = ? RETURNING file", (capture,))
        )
    return [file for file in removed if file is not None]


def remove_path(connection: sqlite3.Connection, path: RelPath) -> list[str]:
    """Remove every capture of a path and return their files, which are the caller's to delete after the commit."""
    rows = connection.execute("DELETE FROM captures WHERE path = ? RETURNING file", (path,)).fetchall()
    return [file for (file,) in rows if file is not None]


def total_size(connection: sqlite3.Connection) -> int:
    """Return the bytes of the captured contents together."""
    row: tuple[int] = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM captures WHERE file IS NOT NULL"
    ).fetchone()
    return row[0]


def _decode(row: _Columns) -> CaptureRow:
    number, path = row[:2]
    file, given = row[8:]
    return CaptureRow(number, from_path(path), decode(row[2:8]), file, given)
