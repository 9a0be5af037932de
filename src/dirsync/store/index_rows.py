"""The index of a replica's own directory: every entry as last read, with the stat it had then."""

import sqlite3
from collections.abc import Iterable, Iterator

from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.store.bulk import collection_paused
from dirsync.store.columns import Wide, from_path, from_wide, to_wide
from dirsync.store.entry_rows import EntryRow, decode_present, encode

_KnownRow = tuple[*EntryRow, Wide, int, Wide, Wide, int, int]


def load(connection: sqlite3.Connection) -> Iterator[tuple[RelPath, Known]]:
    """Yield every known entry, in the order of paths as bytes. Raises BadRow."""
    rows = connection.execute(
        "SELECT path, kind, digest, size, mtime_ns, mode, target,"
        " stat_inode, stat_size, stat_mtime_ns, stat_ctime_ns, stat_mode, looked_ns FROM index_entries ORDER BY path"
    )
    with collection_paused():
        for row in rows:
            inode, size, mtime_ns, ctime_ns, mode, looked_ns = row[7:]
            entry = decode_present(row[1:7])
            stat = Fingerprint(from_wide(inode), size, from_wide(mtime_ns), from_wide(ctime_ns), mode)
            yield from_path(row[0]), Known(entry, stat.sharing(entry), looked_ns)


def save(connection: sqlite3.Connection, rows: Iterable[tuple[RelPath, Known | None]]) -> None:
    """Remember what was read; None forgets a path. Of several rows for a path the last counts."""
    last = dict(rows)
    connection.executemany(
        "INSERT OR REPLACE INTO index_entries (path, kind, digest, size, mtime_ns, mode, target,"
        " stat_inode, stat_size, stat_mtime_ns, stat_ctime_ns, stat_mode, looked_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((path, *_encode(known)) for path, known in last.items() if known is not None),
    )
    connection.executemany(
        "DELETE FROM index_entries WHERE path = ?", ((path,) for path, known in last.items() if known is None)
    )


def clear(connection: sqlite3.Connection) -> None:
    """Forget everything: the next scan reads every file."""
    connection.execute("DELETE FROM index_entries")


def doubt_after(connection: sqlite3.Connection, time_ns: int) -> None:
    """Let no stat prove what last changed after this time: it is read again."""
    connection.execute(
        "UPDATE index_entries SET looked_ns = 0 WHERE stat_ctime_ns > ?",  # a blob is greater than any number
        (to_wide(time_ns),),
    )


def _encode(known: Known) -> _KnownRow:
    stat = known.fingerprint
    return (
        *encode(known.entry),
        to_wide(stat.inode),
        stat.size,
        to_wide(stat.mtime_ns),
        to_wide(stat.ctime_ns),
        stat.mode,
        known.looked_ns,
    )
