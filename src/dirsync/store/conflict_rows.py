"""The conflicts that nobody has looked at yet. Only Server A has any."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from dirsync.core.entry import Entry, Role
from dirsync.core.paths import RelPath
from dirsync.store.columns import from_path, from_text
from dirsync.store.entry_rows import EntryRow, decode_present, encode

_SELECT = "SELECT number, path, winner, version, since_ns, kind, digest, size, mtime_ns, mode, target FROM conflicts"

_Columns = tuple[int, bytes, str, str, int, *EntryRow]


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """One conflict: who won, what lost, and the version that keeps the loser ("" while that is not known)."""

    number: int
    path: RelPath
    winner: Role
    version: str
    since_ns: int
    loser: Entry


def begin(connection: sqlite3.Connection, path: RelPath, winner: Role, loser: Entry, since_ns: int) -> int:
    """Add a conflict whose loser is about to be replaced and return its number; one that came to nothing goes."""
    connection.execute("DELETE FROM conflicts WHERE path = ? AND version = ''", (path,))
    number = connection.execute(
        "INSERT INTO conflicts (path, winner, since_ns, kind, digest, size, mtime_ns, mode, target)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, winner.value, since_ns, *encode(loser)),
    ).lastrowid
    assert number is not None
    return number


def settle(connection: sqlite3.Connection, number: int, version: str) -> None:
    """Record the version that keeps the loser."""
    connection.execute("UPDATE conflicts SET version = ? WHERE number = ?", (version, number))


def remove(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove conflicts: they came to nothing, or somebody has looked at them."""
    connection.executemany("DELETE FROM conflicts WHERE number = ?", ((number,) for number in numbers))


def unsettled(connection: sqlite3.Connection, winner: Role) -> list[ConflictRow]:
    """Return those won by this replica of which it is not known what became of the loser. Raises BadRow."""
    rows = connection.execute(_SELECT + " WHERE version = '' AND winner = ? ORDER BY number", (winner.value,))
    return [_decode(row) for row in rows]


def of_path(connection: sqlite3.Connection, path: RelPath) -> list[ConflictRow]:
    """Return the conflicts of a path, the oldest first. Raises BadRow."""
    rows = connection.execute(_SELECT + " WHERE path = ? ORDER BY number", (path,))
    return [_decode(row) for row in rows]


def newest(connection: sqlite3.Connection, count: int) -> list[ConflictRow]:
    """Return the newest conflicts, the newest first. Raises BadRow."""
    rows = connection.execute(_SELECT + " ORDER BY number DESC LIMIT ?", (count,))
    return [_decode(row) for row in rows]


def count(connection: sqlite3.Connection) -> int:
    """Return how many there are."""
    row: tuple[int] = connection.execute("SELECT count(*) FROM conflicts").fetchone()
    return row[0]


def _decode(row: _Columns) -> ConflictRow:
    number, path, winner, version, since_ns = row[:5]
    return ConflictRow(number, from_path(path), from_text(Role, winner), version, since_ns, decode_present(row[5:]))
