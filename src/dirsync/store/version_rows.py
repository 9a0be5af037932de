"""The kept versions: what was replaced or deleted, and the file that holds it. The files belong to others."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from dirsync.core.entry import Digest, Entry, size_of
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.store.columns import from_path, from_text
from dirsync.store.entry_rows import EntryRow, decode_present, encode

_Columns = tuple[int, bytes, *EntryRow, int, str, str]


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One kept version. `file` names its content among the kept files, `kept_ns` is nanoseconds since 1970."""

    number: int
    path: RelPath
    entry: Entry
    kept_ns: int
    why: Why
    file: str

    @property
    def size(self) -> int:
        """The bytes it counts for."""
        return size_of(self.entry)


def add(connection: sqlite3.Connection, path: RelPath, entry: Entry, *, kept_ns: int, why: Why, file: str) -> int:
    """Add a version and return its number: higher than any before, and never given again."""
    number = connection.execute(
        "INSERT INTO versions (path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, *encode(entry), kept_ns, why.value, file),
    ).lastrowid
    assert number is not None
    return number


def of_path(connection: sqlite3.Connection, path: RelPath) -> list[VersionRow]:
    """Return the versions of a path, the one kept last first. Raises BadRow."""
    rows = connection.execute(
        "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
        " WHERE path = ? ORDER BY number DESC",
        (path,),
    )
    return [_decode(row) for row in rows]


def newest(connection: sqlite3.Connection, path: RelPath) -> VersionRow | None:
    """Return the version of a path that was kept last, or None. Raises BadRow."""
    return _first(
        connection.execute(
            "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
            " WHERE path = ? ORDER BY number DESC LIMIT 1",
            (path,),
        )
    )


def get(connection: sqlite3.Connection, number: int) -> VersionRow | None:
    """Return the version with this number, or None. Raises BadRow."""
    return _first(
        connection.execute(
            "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
            " WHERE number = ?",
            (number,),
        )
    )


def by_digest(connection: sqlite3.Connection, digest: Digest) -> VersionRow | None:
    """Return the last kept version with this content, or None. Raises BadRow."""
    return _first(
        connection.execute(
            "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
            " WHERE digest = ? ORDER BY number DESC LIMIT 1",
            (digest,),
        )
    )


def oldest(connection: sqlite3.Connection) -> VersionRow | None:
    """Return the version that was kept first, or None. Raises BadRow."""
    return _first(
        connection.execute(
            "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
            " ORDER BY number LIMIT 1"
        )
    )


def expired(connection: sqlite3.Connection, before_ns: int) -> list[VersionRow]:
    """Return what was kept before `before_ns`, the oldest first. Raises BadRow."""
    rows = connection.execute(
        "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
        " WHERE kept_ns < ? ORDER BY number",
        (before_ns,),
    )
    return [_decode(row) for row in rows]


def files(connection: sqlite3.Connection) -> set[str]:
    """Return the name of every file that a version needs."""
    return {file for (file,) in connection.execute("SELECT file FROM versions")}


def total_size(connection: sqlite3.Connection) -> int:
    """Return the bytes of all versions together, as `VersionRow.size` counts them."""
    row: tuple[int] = connection.execute(
        "SELECT coalesce(sum(coalesce(size, length(target), 0)), 0) FROM versions"
    ).fetchone()
    return row[0]


def set_entry(connection: sqlite3.Connection, number: int, entry: Entry) -> None:
    """Correct what a version holds, where its content changed after it was set aside."""
    connection.execute(
        "UPDATE versions SET kind = ?, digest = ?, size = ?, mtime_ns = ?, mode = ?, target = ? WHERE number = ?",
        (*encode(entry), number),
    )


def remove(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove versions; their files are the caller's to delete, after the commit."""
    connection.executemany("DELETE FROM versions WHERE number = ?", ((number,) for number in numbers))


def _first(rows: sqlite3.Cursor) -> VersionRow | None:
    row: _Columns | None = rows.fetchone()
    return None if row is None else _decode(row)


def _decode(row: _Columns) -> VersionRow:
    number, path = row[:2]
    kept_ns, why, file = row[8:]
    return VersionRow(number, from_path(path), decode_present(row[2:8]), kept_ns, from_text(Why, why), file)
