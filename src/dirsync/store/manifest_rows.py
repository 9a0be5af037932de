"""The chunks of large contents, by the digest of the content. A bounded cache: the oldest go first."""

import sqlite3
from collections.abc import Iterable

from dirsync.core.chunks import Manifest
from dirsync.core.entry import Digest
from dirsync.errors import Refusal
from dirsync.store.columns import BadRow

MANIFESTS_MAX = 1024
BYTES_MAX = 64 * 1024 * 1024


def get(connection: sqlite3.Connection, digest: Digest) -> Manifest | None:
    """Return the chunks of this content, or None. Raises BadRow."""
    row: tuple[int, bytes] | None = connection.execute(
        "SELECT average, rows FROM manifests WHERE digest = ?", (digest,)
    ).fetchone()
    try:
        return None if row is None else Manifest.of(*row)
    except Refusal as error:
        raise BadRow(str(error)) from error


def put(connection: sqlite3.Connection, manifests: Iterable[tuple[Digest, Manifest]]) -> None:
    """Remember these, and forget the oldest past MANIFESTS_MAX and BYTES_MAX."""
    connection.executemany(
        "INSERT OR REPLACE INTO manifests (digest, average, rows) VALUES (?, ?, ?)",
        [(digest, manifest.average, manifest.rows) for digest, manifest in manifests],
    )
    kept = total = 0
    for number, size in connection.execute("SELECT id, length(rows) FROM manifests ORDER BY id DESC").fetchall():
        kept, total = kept + 1, total + size
        if kept > MANIFESTS_MAX or total > BYTES_MAX:
            connection.execute("DELETE FROM manifests WHERE id <= ?", (number,))
            return


def remove(connection: sqlite3.Connection, digest: Digest) -> None:
    """Forget the chunks of this content."""
    connection.execute("DELETE FROM manifests WHERE digest = ?", (digest,))
