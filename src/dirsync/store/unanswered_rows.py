"""What a replica was told to hold, as the other one held it then, as long as its answer is not in the base."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dirsync.core.entry import Entry, Role
from dirsync.core.paths import RelPath
from dirsync.store.columns import from_path, from_text
from dirsync.store.entry_rows import decode, encode


@dataclass(frozen=True, slots=True)
class Told:
    """`role` was told, in this batch, to hold `entry` at `path`."""

    batch: int
    path: RelPath
    role: Role
    entry: Entry | None


def add(connection: sqlite3.Connection, batch: int, role: Role, shared: Mapping[RelPath, Entry | None]) -> None:
    """Note a batch; its number is free."""
    connection.executemany(
        "INSERT INTO unanswered (batch, path, role, kind, digest, size, mtime_ns, mode, target)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((batch, path, role.value, *encode(entry)) for path, entry in shared.items()),
    )


def remove(connection: sqlite3.Connection, batches: Iterable[int]) -> None:
    """Forget batches."""
    connection.executemany("DELETE FROM unanswered WHERE batch = ?", ((batch,) for batch in batches))


def load(connection: sqlite3.Connection) -> list[Told]:
    """Return everything noted, in the order of batches. Raises BadRow."""
    rows = connection.execute(
        "SELECT batch, path, role, kind, digest, size, mtime_ns, mode, target FROM unanswered ORDER BY batch, path"
    )
    return [Told(row[0], from_path(row[1]), from_text(Role, row[2]), decode(row[3:])) for row in rows]
