"""Names that are not there any more, during the moment in which they may come back.

Programs that save by renaming take a name away and put it back; a renamed file turns up elsewhere. Owns how long a
vanishing is not believed, and by which inode a vanished file is recognised. Times are the event loop's.
"""

from dirsync.core.entry import File
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.limits import VANISH_GRACE_SECONDS


class VanishedPaths:
    """The names that vanished, each with the time from which its absence is believed."""

    def __init__(self) -> None:
        self._due: dict[RelPath, float] = {}
        self._inodes: dict[int, tuple[RelPath, Known]] = {}
        self._inode_of: dict[RelPath, int] = {}

    def due(self, path: RelPath) -> float | None:
        """Return when the absence of a path is to be believed; None where the path did not vanish."""
        return self._due.get(path)

    def at_inode(self, inode: int) -> tuple[RelPath, Known] | None:
        """Return the vanished file that had this inode. Called by worker threads too."""
        return self._inodes.get(inode)

    def add(self, path: RelPath, known: Known | None, now: float, due: float | None = None) -> float:
        """Take note that a path vanished, with its directory if `due` is given; return when to believe it."""
        believed = now + VANISH_GRACE_SECONDS if due is None else due
        self._due[path] = believed
        if known is not None and isinstance(known.entry, File):
            self._inodes[known.fingerprint.inode] = (path, known)
            self._inode_of[path] = known.fingerprint.inode
        return believed

    def discard(self, path: RelPath) -> None:
        """Forget a path: it is back, or its absence is believed."""
        self._due.pop(path, None)
        inode = self._inode_of.pop(path, None)
        if inode is not None and self._inodes.get(inode, (None,))[0] == path:
            del self._inodes[inode]

    def clear(self) -> None:
        """Forget everything."""
        self._due.clear()
        self._inodes.clear()
        self._inode_of.clear()
