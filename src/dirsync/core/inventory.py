"""Comparing two inventories by digests, so that only what differs crosses the wire.

Every path belongs to one of a fixed number of buckets; two buckets with the same digest hold the same rows. One round
of what rsync and Merkle trees do by blocks and by nodes: a changed path costs the rows of its bucket.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import assert_never

from dirsync.core.entry import Directory, File, Observed, Problem, Symlink, Untracked
from dirsync.core.paths import RelPath

BUCKETS = 1024
"""16 KiB of digests whatever there is; of 100,000 entries a changed one costs a hundred rows."""
DIGEST_BYTES = 16

Row = tuple[RelPath, Observed]


def into_buckets(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows by bucket. Where a path belongs depends on nothing but its name."""
    buckets: list[list[Row]] = [[] for _ in range(BUCKETS)]
    for row in rows:
        buckets[zlib.crc32(row[0]) % BUCKETS].append(row)
    return buckets


def digests_of(buckets: Iterable[Sequence[Row]]) -> tuple[bytes, ...]:
    """Return the digest of each bucket, whatever the order of its rows. What compares equal has equal digests."""
    return tuple(
        hashlib.blake2b(b"".join(sorted(map(_encoded, bucket))), digest_size=DIGEST_BYTES).digest()
        for bucket in buckets
    )


def _encoded(row: Row) -> bytes:
    """Return what identifies a row: no name holds a NUL, and what follows says where it ends."""
    path, found = row
    if isinstance(found, File):
        return b"%b\0f%b%d %d %d\0" % (path, found.digest, found.size, found.mtime_ns, found.mode)
    match found:
        case Directory():
            return b"%b\0d%d\0" % (path, found.mode)
        case Symlink():
            return b"%b\0l%b\0" % (path, found.target)
        case Untracked() | Problem():
            reason = found.reason.encode("utf-8", "surrogateescape")
            return b"%b\0%b%d %b\0" % (path, b"u" if isinstance(found, Untracked) else b"p", len(reason), reason)
        case None:
            return b"%b\0-\0" % path
        case _:
            assert_never(found)
