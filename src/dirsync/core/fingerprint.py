"""How a replica recognises, from a stat alone, that nothing changed at a path.

Named tuples: of these there are several for each file, and they are made and compared in half the time.
"""

from typing import NamedTuple

from dirsync.core.entry import Entry
from dirsync.limits import RACY_NANOSECONDS


class Fingerprint(NamedTuple):
    """What `lstat` gave: times in nanoseconds since 1970 as that file system stored them, `mode` the whole st_mode."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int


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
