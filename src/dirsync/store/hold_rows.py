"""The journal of the locks: which names are locked, and their held updates in order of arrival.

What is committed here may be acknowledged. The rules of a hold are in `core.holds`, the spool files belong to others;
that a lock with updates cannot be dropped, and no update be without its lock, is enforced by the tables.
"""

import sqlite3
from dataclasses import dataclass

from dirsync.core.entry import ChangeKind, Entry, Role
from dirsync.core.paths import RelPath
from dirsync.store.columns import from_path, from_text
from dirsync.store.entry_rows import EntryRow, decode, encode

_LockColumns = tuple[bytes, int, int, str, *EntryRow, *EntryRow]
_UpdateColumns = tuple[int, bytes, str, *EntryRow, str, str | None, int, int]


@dataclass(frozen=True, slots=True)
class LockRow:
    """A locked name. `seen_a`, `seen_b` are its last recorded states; `reason` says why a drain stopped, if one did."""

    path: RelPath
    since_ns: int
    is_draining: bool
    reason: str
    seen_a: Entry | None
    seen_b: Entry | None


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """A held update. `file` names its content in the spool, None where it needs none there; `size` is its bytes."""

    id: int
    path: RelPath
    origin: Role
    entry: Entry | None
    change: ChangeKind
    file: str | None
    size: int
    received_ns: int


def lock(
    connection: sqlite3.Connection, path: RelPath, since_ns: int, seen_a: Entry | None, seen_b: Entry | None
) -> None:
    """Lock a name that is not locked."""
    connection.execute(
        "INSERT INTO locks (path, since_ns, a_kind, a_digest, a_size, a_mtime_ns, a_mode, a_target,"
        " b_kind, b_digest, b_size, b_mtime_ns, b_mode, b_target)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, since_ns, *encode(seen_a), *encode(seen_b)),
    )


def unlock(connection: sqlite3.Connection, path: RelPath) -> None:
    """Remove a lock. Its updates must be gone: sqlite3.IntegrityError otherwise."""
    connection.execute("DELETE FROM locks WHERE path = ?", (path,))


def set_seen(connection: sqlite3.Connection, path: RelPath, seen_a: Entry | None, seen_b: Entry | None) -> None:
    """Set the last recorded states of a locked name."""
    connection.execute(
        "UPDATE locks SET a_kind = ?, a_digest = ?, a_size = ?, a_mtime_ns = ?, a_mode = ?, a_target = ?,"
        " b_kind = ?, b_digest = ?, b_size = ?, b_mtime_ns = ?, b_mode = ?, b_target = ? WHERE path = ?",
        (*encode(seen_a), *encode(seen_b), path),
    )


def set_draining(connection: sqlite3.Connection, path: RelPath, is_draining: bool, reason: str) -> None:
    """Note whether the unlock was asked, and why it stopped."""
    connection.execute("UPDATE locks SET is_draining = ?, reason = ? WHERE path = ?", (int(is_draining), reason, path))


def load_locks(connection: sqlite3.Connection) -> list[LockRow]:
    """Return every lock, in the order of paths as bytes. Raises BadRow."""
    rows = connection.execute(
        "SELECT path, since_ns, is_draining, reason, a_kind, a_digest, a_size, a_mtime_ns, a_mode, a_target,"
        " b_kind, b_digest, b_size, b_mtime_ns, b_mode, b_target FROM locks ORDER BY path"
    )
    return [_decode_lock(row) for row in rows]


def enqueue(
    connection: sqlite3.Connection,
    path: RelPath,
    origin: Role,
    entry: Entry | None,
    *,
    change: ChangeKind,
    file: str | None,
    size: int,
    received_ns: int,
) -> int:
    """Append an update of a locked name and return its id, higher than any before.

    Raises sqlite3.IntegrityError where the name is not locked.
    """
    number = connection.execute(
        "INSERT INTO updates (path, origin, kind, digest, size, mtime_ns, mode, target,"
        " change, file, spool_size, received_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, origin.value, *encode(entry), change.value, file, size, received_ns),
    ).lastrowid
    assert number is not None
    return number


def remove_update(connection: sqlite3.Connection, update: int) -> None:
    """Remove an update; its spool file is the caller's to delete, after the commit."""
    connection.execute("DELETE FROM updates WHERE id = ?", (update,))


def load_updates(connection: sqlite3.Connection) -> list[UpdateRow]:
    """Return every held update, in the order of arrival. Raises BadRow."""
    rows = connection.execute(
        "SELECT id, path, origin, kind, digest, size, mtime_ns, mode, target,"
        " change, file, spool_size, received_ns FROM updates ORDER BY id"
    )
    return [_decode_update(row) for row in rows]


def spool_files(connection: sqlite3.Connection) -> set[str]:
    """Return the name of every spool file that an update needs."""
    return {file for (file,) in connection.execute("SELECT file FROM updates WHERE file IS NOT NULL")}


def _decode_lock(row: _LockColumns) -> LockRow:
    path, since_ns, is_draining, reason = row[:4]
    return LockRow(from_path(path), since_ns, bool(is_draining), reason, decode(row[4:10]), decode(row[10:16]))


def _decode_update(row: _UpdateColumns) -> UpdateRow:
    number, path, origin = row[:3]
    change, file, size, received_ns = row[9:]
    return UpdateRow(
        id=number,
        path=from_path(path),
        origin=from_text(Role, origin),
        entry=decode(row[3:9]),
        change=from_text(ChangeKind, change),
        file=file,
        size=size,
        received_ns=received_ns,
    )
