"""What applies give to held names, noted before each: after a crash it can be told how far the apply came."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.store.columns import Wide, from_path, from_wide, to_wide
from dirsync.store.entry_rows import decode, encode


@dataclass(frozen=True, slots=True)
class Gift:
    """`entry` is given to `path` by the held update of this number.

    `inode` is that of what was staged for it, None where nothing was.
    """

    path: RelPath
    update: int
    entry: Entry | None
    inode: int | None
    is_done: bool = False


def put(connection: sqlite3.Connection, gifts: Sequence[Gift]) -> None:
    """Note what is going to be given, in place of what was given to these paths before."""
    connection.executemany("DELETE FROM given WHERE path = ?", {(gift.path,) for gift in gifts})
    connection.executemany(
        "INSERT INTO given (path, held_update, kind, digest, size, mtime_ns, mode, target, inode, is_done)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                gift.path,
                gift.update,
                *encode(gift.entry),
                None if gift.inode is None else to_wide(gift.inode),
                int(gift.is_done),
            )
            for gift in gifts
        ],
    )


def finish(connection: sqlite3.Connection, path: RelPath, update: int) -> None:
    """Note that this was the last one given, if it was noted at all; what was to come after it was not given."""
    connection.execute("DELETE FROM given WHERE path = ? AND held_update <> ?", (path, update))
    connection.execute("UPDATE given SET is_done = 1 WHERE path = ?", (path,))


def remove(connection: sqlite3.Connection, path: RelPath) -> None:
    """Forget it: the other side knows, or it was not given."""
    connection.execute("DELETE FROM given WHERE path = ?", (path,))


def load(connection: sqlite3.Connection) -> list[Gift]:
    """Return every one, in the order of paths as bytes, those of a path in the order of giving. Raises BadRow."""
    rows = connection.execute(
        "SELECT path, held_update, kind, digest, size, mtime_ns, mode, target, inode, is_done FROM given"
        " ORDER BY path, held_update"
    )
    return [Gift(from_path(row[0]), row[1], decode(row[2:8]), _inode(row[8]), bool(row[9])) for row in rows]


def _inode(column: Wide | None) -> int | None:
    return None if column is None else from_wide(column)
