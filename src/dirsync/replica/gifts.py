"""What applies gave to held names, so that a drain that was interrupted knows how far it came.

Noted with the inode of what was staged before each apply, and as done after it. Not told by the state that is found:
the same state may stand there because a person made it, and another one because a person went on from it. Of a group of
updates that one apply gives, the inode at the path tells the last one that was given; those before it were, too.
What is noted stays staged until the note is finished: an inode that is given back could become somebody else's.
"""

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from dirsync.core.entry import PERMISSION_BITS, Entry, File
from dirsync.core.paths import RelPath
from dirsync.core.reports import Failed, Refused, Step
from dirsync.disk.apply import Done, Prepared
from dirsync.disk.probe import lstat_at
from dirsync.disk.root import Root
from dirsync.replica.site import Site
from dirsync.store import given_rows, held_names
from dirsync.store.given_rows import Gift


class Gifts:
    """What was given and may not be known at the other side. A later state of the name is told after it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._done: dict[RelPath, Gift] = {}

    def load(self) -> dict[RelPath, Entry | None]:
        """Find out what was given before the server died, and return these states. Blocking. Raises RootLost."""
        root, site = self._site.ground.root, self._site
        with site.database.transaction() as connection:
            for path, group in groupby(given_rows.load(connection), lambda gift: gift.path):
                last = next((gift for gift in reversed(list(group)) if gift.is_done or _stands(root, gift)), None)
                if last is None:
                    given_rows.remove(connection, path)
                else:
                    given_rows.finish(connection, path, last.update)
                    self._done[path] = last
        return {path: gift.entry for path, gift in self._done.items()}

    async def note(self, gifts: Sequence[Gift]) -> None:
        """Make durable what is going to be given. Raises StateError."""
        await self._site.threads.record(partial(self._note, gifts))

    def _note(self, gifts: Sequence[Gift]) -> None:
        with self._site.database.transaction() as connection:
            given_rows.put(connection, gifts)

    def finish(self, noted: Iterable[RelPath], given: Mapping[RelPath, Gift]) -> None:
        """Make durable which of what was noted was the last one given; what was known before, where none was.

        Blocking, from any thread. Raises StateError.
        """
        with self._site.database.transaction() as connection:
            for path in noted:
                if (gift := given.get(path)) is not None:
                    held_names.put(connection, path, gift.entry)
                    given_rows.finish(connection, path, gift.update)
                elif (before := self._done.get(path)) is not None:
                    given_rows.put(connection, [replace(before, is_done=True)])
                else:
                    given_rows.remove(connection, path)

    def done(self, gift: Gift) -> None:
        """It was given."""
        self._done[gift.path] = gift

    def untold(self, path: RelPath) -> Gift | None:
        """Return what was given and may not be known."""
        return self._done.get(path)

    def forget(self, paths: Iterable[RelPath]) -> None:
        """It is known, or is of no concern any more."""
        for path in paths:
            self._done.pop(path, None)


def gift_of(step: Step, prepared: Prepared) -> Gift | None:
    """Return what a step gives by a held update, if it applies one."""
    inode = None if prepared.staged is None else prepared.staged.inode
    return Gift(step.action.path, step.update, step.action.intended, inode) if step.update else None


def last_given(outcomes: Sequence[Done | Refused | Failed], gifts: Sequence[Gift | None]) -> dict[RelPath, Gift]:
    """Return the last gift of each name that was given."""
    pairs = zip(outcomes, gifts, strict=True)
    return {gift.path: gift for outcome, gift in pairs if gift is not None and isinstance(outcome, Done)}


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
