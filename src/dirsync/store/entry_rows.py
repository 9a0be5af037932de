"""The only place that knows how an entry stands in its six columns: kind, digest, size, mtime_ns, mode, target.

Checked on both ways: what is written is a valid entry (anything else is our bug), what is read must be one.
"""

from typing import assert_never

from dirsync.core.entry import PERMISSION_BITS, Digest, Directory, Entry, File, Symlink, permissions
from dirsync.store.columns import SQLITE_INTEGER_MAX, BadRow, Wide, from_wide, to_wide

FILE, DIRECTORY, SYMLINK = 1, 2, 3
DIGEST_BYTES = 32

EntryRow = tuple[int | None, bytes | None, int | None, Wide | None, int | None, bytes | None]

_ABSENT: EntryRow = (None, None, None, None, None, None)


def encode(entry: Entry | None) -> EntryRow:
    """Return the columns of `entry`; absence is six NULLs."""
    match entry:
        case None:
            return _ABSENT
        case File(digest, size, mtime_ns, mode):
            assert len(digest) == DIGEST_BYTES, "a digest has 32 bytes"
            assert 0 <= size <= SQLITE_INTEGER_MAX, "a size fits a file offset"
            assert mode == mode & PERMISSION_BITS, "a mode is permission bits only"
            return FILE, digest, size, to_wide(mtime_ns), mode, None
        case Directory(mode):
            assert mode == mode & PERMISSION_BITS, "a mode is permission bits only"
            return DIRECTORY, None, None, None, mode, None
        case Symlink(target, mtime_ns):
            return SYMLINK, None, None, to_wide(mtime_ns), None, target
        case _:
            assert_never(entry)


def decode(row: EntryRow) -> Entry | None:
    """Invert `encode`. Raises BadRow."""
    return None if row[0] is None else decode_present(row)


def decode_present(row: EntryRow) -> Entry:
    """Return an entry that is not absence. Raises BadRow."""
    kind, digest, size, mtime_ns, mode, target = row
    if kind == FILE and digest is not None and len(digest) == DIGEST_BYTES and size is not None and size >= 0:
        return File(Digest(digest), size, from_wide(mtime_ns), _permissions(mode))
    if kind == DIRECTORY:
        return Directory(_permissions(mode))
    if kind == SYMLINK and target is not None:
        return Symlink(target, from_wide(mtime_ns))
    raise BadRow(f"not an entry: kind {kind}")


def _permissions(mode: int | None) -> int:
    if mode is None or not 0 <= mode <= PERMISSION_BITS:
        raise BadRow(f"not permission bits: {mode}")
    return permissions(mode)
