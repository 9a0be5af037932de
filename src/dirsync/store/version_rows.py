"""The kept versions: what was replaced or deleted, and the file that holds it. The files belong to others."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dirsync.core.entry import Digest, Entry, size_of
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.limits import KEPT_BYTES_MIN
from dirsync.store.columns import from_path, from_text
from dirsync.store.entry_rows import EntryRow, decode_present, encode

_SAME_CONTENT_MAX = 100
"""Versions with one content that are offered: any of them will do."""

_SELECT = "SELECT number, path, kind, digest, size, mtime_ns, mode, target, kept_ns, why, file FROM versions"
_TOO_LARGE = " WHERE size > ? AND number < (SELECT max(number) FROM versions) ORDER BY number"
_SUPERSEDED = (
    " WHERE coalesce(size, 0) <= ? AND number < (SELECT max(number) FROM versions)"
    " AND EXISTS (SELECT 1 FROM versions AS later WHERE later.path = versions.path AND later.number > versions.number)"
    " ORDER BY number"
)
_NEWEST = (
    " WHERE coalesce(size, 0) <= ? AND number < (SELECT max(number) FROM versions) AND NOT"
    " EXISTS (SELECT 1 FROM versions AS later WHERE later.path = versions.path AND later.number > versions.number)"
    " ORDER BY number"
)

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
        """The bytes it counts for: its own, and not less than a small file takes on a disk."""
        return max(size_of(self.entry), KEPT_BYTES_MIN)


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
    rows = connection.execute(_SELECT + " WHERE path = ? ORDER BY number DESC", (path,))
    return [_decode(row) for row in rows]


def get(connection: sqlite3.Connection, number: int) -> VersionRow | None:
    """Return the version with this number, or None. Raises BadRow."""
    return _first(connection.execute(_SELECT + " WHERE number = ?", (number,)))


def with_digest(connection: sqlite3.Connection, digest: Digest) -> list[VersionRow]:
    """Return the last versions with this content, the one kept last first. Raises BadRow."""
    rows = connection.execute(_SELECT + " WHERE digest = ? ORDER BY number DESC LIMIT ?", (digest, _SAME_CONTENT_MAX))
    return [_decode(row) for row in rows]


def expired(connection: sqlite3.Connection, before_ns: int) -> Iterator[VersionRow]:
    """Yield what was kept before `before_ns`, the oldest first. Raises BadRow."""
    rows = connection.execute(_SELECT + " WHERE kept_ns < ? ORDER BY number", (before_ns,))
    return map(_decode, rows)


def dispensable(connection: sqlite3.Connection, size_max: int) -> Iterator[VersionRow]:
    """Yield every version but the one kept last, the most dispensable first. Raises BadRow.

    First what is larger than `size_max` by itself, as it leaves room for nothing else; then what is not the newest of
    its path; then the rest; each the oldest first.
    """
    for condition in (_TOO_LARGE, _SUPERSEDED, _NEWEST):
        yield from map(_decode, connection.execute(_SELECT + condition, (size_max,)))


def files(connection: sqlite3.Connection) -> set[str]:
    """Return the name of every file that a version needs."""
    return {file for (file,) in connection.execute("SELECT file FROM versions")}


def paths_of(connection: sqlite3.Connection, files: Iterable[str]) -> set[RelPath]:
    """Return the paths of the versions that have these files. Raises BadRow."""
    rows = (connection.execute("SELECT path FROM versions WHERE file = ?", (file,)).fetchone() for file in files)
    return {from_path(row[0]) for row in rows if row is not None}


def total_size(connection: sqlite3.Connection) -> int:
    """Return the bytes of all versions together, as `VersionRow.size` counts them."""
    row: tuple[int] = connection.execute(
        "SELECT coalesce(sum(max(coalesce(size, length(target), 0), ?)), 0) FROM versions", (KEPT_BYTES_MIN,)
    ).fetchone()
    return row[0]


def last(connection: sqlite3.Connection) -> VersionRow | None:
    """Return the version that was kept last, or None. Raises BadRow."""
    return _first(connection.execute(_SELECT + " ORDER BY number DESC LIMIT 1"))


def set_entry(connection: sqlite3.Connection, number: int, entry: Entry) -> None:
    """Correct what a version holds, where its content changed after it was set aside."""
    connection.execute(
        "UPDATE versions SET kind = ?, digest = ?, size = ?, mtime_ns = ?, mode = ?, target = ? WHERE number = ?",
        (*encode(entry), number),
    )


def discard(connection: sqlite3.Connection, rows: Sequence[VersionRow]) -> None:
    """Give versions up; their files are remembered as discarded until `forget_discarded`."""
    connection.executemany("DELETE FROM versions WHERE number = ?", ((row.number,) for row in rows))
    connection.executemany("INSERT OR IGNORE INTO discarded_files (file) VALUES (?)", ((row.file,) for row in rows))


def forget(connection: sqlite3.Connection, files: Iterable[str]) -> None:
    """Drop the versions whose files are these, which are not there."""
    connection.executemany("DELETE FROM versions WHERE file = ?", ((file,) for file in files))


def discarded(connection: sqlite3.Connection) -> list[str]:
    """Return the files that were given up and may be there still."""
    return [file for (file,) in connection.execute("SELECT file FROM discarded_files ORDER BY file")]


def forget_discarded(connection: sqlite3.Connection, removed: Iterable[str]) -> None:
    """Forget discarded files that were removed, durably."""
    connection.executemany("DELETE FROM discarded_files WHERE file = ?", ((file,) for file in removed))


def _first(rows: sqlite3.Cursor) -> VersionRow | None:
    row: _Columns | None = rows.fetchone()
    return None if row is None else _decode(row)


def _decode(row: _Columns) -> VersionRow:
    number, path = row[:2]
    kept_ns, why, file = row[8:]
    return VersionRow(number, from_path(path), decode_present(row[2:8]), kept_ns, from_text(Why, why), file)
