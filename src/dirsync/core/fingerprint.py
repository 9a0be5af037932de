"""How a replica recognises, from a stat alone, that nothing changed at a path.

Named tuples: of these there are several for each file, and they are made and compared in half the time.
"""

from typing import NamedTuple

from dirsync.core.entry import Entry, File
from dirsync.limits import RACY_NANOSECONDS


class Fingerprint(NamedTuple):
    """What `lstat` gave: times in nanoseconds since 1970 as that file system stored them, `mode` the whole st_mode."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int

    def sharing(self, entry: Entry) -> "Fingerprint":
        """Return the same, whose numbers are the entry's own where they are equal: a hundred bytes less to remember."""
        inode, size, mtime_ns, ctime_ns, mode = self
        if isinstance(entry, File):
            size = entry.size if size == entry.size else size
            mtime_ns = entry.mtime_ns if mtime_ns == entry.mtime_ns else mtime_ns
        ctime_ns = mtime_ns if ctime_ns == mtime_ns else ctime_ns
        return Fingerprint(inode, size, mtime_ns, ctime_ns, shared_mode(mode))


_MODES: dict[int, int] = {}


def shared_mode(mode: int) -> int:
    """Return this st_mode; for equal ones the same number. There are few."""
    return _MODES.setdefault(mode, mode)


class Known(NamedTuple):
    """An entry as last read, with the stat it had then. `looked_ns` is the wall clock when that reading began.

    After an apply `entry` is the intended one, so a file system that stores times more coarsely causes no change.
    """

    entry: Entry
    fingerprint: Fingerprint
    looked_ns: int

    def is_proven_by(self, present: Fingerprint) -> bool:
        """Return whether `present` alone proves that the entry is unchanged.

        Not so where the last change is younger than the clock's granularity at the time of reading (git calls such
        an entry "racily clean"): a later write could have left the same stat behind.
        """
        return present == self.fingerprint and self.is_beyond_doubt

    @property
    def is_beyond_doubt(self) -> bool:
        """Whether an equal stat proves the entry: it was read long enough after its last change."""
        before = self.fingerprint
        return self.looked_ns - max(before.mtime_ns, before.ctime_ns) > RACY_NANOSECONDS
