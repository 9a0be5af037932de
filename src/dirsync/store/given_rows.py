"""What applies give to held names, noted before each: after a crash it can be told whether the apply was done."""

import sqlite3
from dataclasses import dataclass

from dirsync.core.entry import Entry
from dirsync.core.paths import RelPath
from dirsync.store.columns import Wide, from_path, from_wide, to_wide
from dirsync.store.entry_rows import decode, encode


@dataclass(frozen=True, slots=True)
class Gift:
    """`entry` is given to `path`. `inode` is that of what was staged for it, None where nothing was."""

    path: RelPath
    entry: Entry | None
    inode: int | None
    is_done: bool = False


def put(connection: sqlite3.Connection, gift: Gift) -> None:
    """Note what is going to be given, in place of what was given before."""
    inode = None if gift.inode is None else to_wide(gift.inode)
    connection.execute(
        "INSERT OR REPLACE INTO given (path, kind, digest, size, mtime_ns, mode, target, inode, is_done)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (gift.path, *encode(gift.entry), inode, int(gift.is_done)),
    )


def finish(connection: sqlite3.Connection, path: RelPath) -> None:
    """Note that it was given, if it was noted at all."""
    connection.execute("UPDATE given SET is_done = 1 WHERE path = ?", (path,))


def remove(connection: sqlite3.Connection, path: RelPath) -> None:
    """Forget it: the other side knows, or it was not given."""
    connection.execute("DELETE FROM given WHERE path = ?", (path,))


def load(connection: sqlite3.Connection) -> list[Gift]:
    """Return every one, in the order of paths as bytes. Raises BadRow."""
    rows = connection.execute(
        "SELECT path, kind, digest, size, mtime_ns, mode, target, inode, is_done FROM given ORDER BY path"
    )
    return [Gift(from_path(row[0]), decode(row[1:7]), _inode(row[7]), bool(row[8])) for row in rows]


def _inode(column: Wide | None) -> int | None:
    return None if column is None else from_wide(column)
