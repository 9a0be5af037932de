"""What applies gave to held names, so that a drain that was interrupted knows whether its head was applied.

Noted with the inode of what was staged before each apply, and as done after it. Not told by the state that is found:
the same state may stand there because a person made it, and another one because a person went on from it.
"""

import stat
from collections.abc import Iterable, Sequence
from functools import partial

from dirsync.core.entry import PERMISSION_BITS, Entry, File
from dirsync.core.paths import RelPath
from dirsync.disk.probe import lstat_at
from dirsync.disk.root import Root
from dirsync.replica.site import Site
from dirsync.store import given_rows
from dirsync.store.given_rows import Gift


class Gifts:
    """What was given and may not be known at the other side. A later state of the name is told after it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._noted: set[RelPath] = set()
        self._done: dict[RelPath, Entry | None] = {}

    def load(self) -> dict[RelPath, Entry | None]:
        """Find out which were done before the server died, and return these. Blocking. Raises RootLost."""
        root, site = self._site.ground.root, self._site
        with site.database.transaction() as connection:
            for gift in given_rows.load(connection):
                if gift.is_done or _stands(root, gift):
                    self._done[gift.path] = gift.entry
                    given_rows.finish(connection, gift.path)
                else:
                    given_rows.remove(connection, gift.path)
        self._noted = set(self._done)
        return dict(self._done)

    async def note(self, gifts: Sequence[Gift]) -> None:
        """Make durable what is going to be given. Raises StateError."""
        await self._site.threads.record(partial(self._note, gifts))
        self._noted.update(gift.path for gift in gifts)

    def _note(self, gifts: Sequence[Gift]) -> None:
        with self._site.database.transaction() as connection:
            for gift in gifts:
                given_rows.put(connection, gift)

    def done(self, path: RelPath, entry: Entry | None) -> None:
        """It was given, if it was noted."""
        if path in self._noted:
            self._done[path] = entry

    def untold(self, path: RelPath) -> bool:
        """Return whether something was given that may not be known."""
        return path in self._done

    def entry(self, path: RelPath) -> Entry | None:
        """Return what was given and may not be known."""
        return self._done[path]

    def forget(self, paths: Iterable[RelPath]) -> None:
        """It is known, or is of no concern any more."""
        for path in paths:
            self._done.pop(path, None)
            self._noted.discard(path)


def _stands(root: Root, gift: Gift) -> bool:
    """Return whether what was staged stands at the path; without that, whether what was asked for does."""
    try:
        with root.parent_of(gift.path) as (directory, name):
            status = lstat_at(directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return gift.entry is None
    except OSError:
        return False
    if gift.inode is not None:
        return status.st_ino == gift.inode
    if not isinstance(gift.entry, File) or not stat.S_ISREG(status.st_mode):
        return False
    found = (status.st_size, status.st_mtime_ns, status.st_mode & PERMISSION_BITS)
    return found == (gift.entry.size, gift.entry.mtime_ns, gift.entry.mode & PERMISSION_BITS)
