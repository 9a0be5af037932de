"""Which directories of a root have other file systems mounted on them, remembered beyond the end of the server.

Without that, a file system that is not there at the next start could not be told from deleted files. What follows from
one that is gone is the root's business.
"""

from dirsync.core.paths import RelPath, ancestors
from dirsync.disk.root import Root
from dirsync.disk.scan import Scan
from dirsync.store import meta
from dirsync.store.database import Database

_KEY = "mounts"
_SEPARATOR = b"\0"
"""No path has it."""


def remembered(database: Database) -> frozenset[RelPath]:
    """Return the directories that were noted. Blocking. Raises StateError."""
    with database.transaction() as connection:
        stored = meta.get(connection, _KEY)
    return frozenset(map(RelPath, stored.split(_SEPARATOR))) if stored else frozenset()


def note(database: Database, root: Root, found: Scan) -> None:
    """Note, durably and for `root`, where a scan of all of it saw other file systems. Blocking. Raises StateError.

    One that could not be looked at is still expected; one whose directory was removed is not.
    """
    unseen = {m for m in root.mounts if any(above in found.unreadable for above in (m, *ancestors(m)))}
    present = frozenset(found.mounts | unseen)
    if present == root.mounts:
        return
    with database.transaction() as connection:
        meta.put(connection, _KEY, _SEPARATOR.join(sorted(present)))
    root.mounts = present
