"""The synchronised directory itself: one descriptor, its identity, and the only way to reach what is inside.

Every path is walked from the descriptor without following links, so nothing here can leave the root. Must not read
or change what stands at a path.
"""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dirsync.core.fingerprint import Fingerprint, shared_mode
from dirsync.core.paths import RelPath, name_of, parent
from dirsync.disk.reasons import reason_of
from dirsync.disk.syscalls import O_LIST, O_NOFOLLOW, O_WALK, give_back, open_beneath
from dirsync.errors import RootLost

_MARK = b"user.dirsync.replica"
_PIECE_BYTES_MAX = 4000
"""What goes into one system call: below PATH_MAX; longer paths are walked in pieces."""
_PARENTS_MAX = 64
"""Directories that a batch of looks holds open at a time."""
_NO_MARK = frozenset(
    {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.E2BIG}
)


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """Which directory this is, where no mark says it."""

    device: int
    inode: int


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return what identifies an unchanged file in a stat."""
    mode = shared_mode(status.st_mode)
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, mode)


class Root:
    """An open root. Usable from several threads; closed once, when none of them uses it any more.

    `mounts` are directories on which other file systems were seen: below one whose file system is gone nothing can be
    reached (ENODEV), so its files do not count as deleted. A directory that is removed is no such place any more.
    `turn` is for whoever makes many small calls that change something: two threads that do so at a time cost each other
    more than they gain.
    """

    __slots__ = ("_given", "fd", "identity", "mounts", "path", "turn")

    def __init__(self, path: str, fd: int, identity: RootIdentity, given: str = "") -> None:
        self.path = path
        self._given = given or path
        self.fd = fd
        self.identity = identity
        self.mounts: frozenset[RelPath] = frozenset()
        self.turn = threading.Lock()

    @classmethod
    def open(cls, path: str) -> "Root":
        """Open the directory; a link at `path` itself is resolved now, and must go on leading here.

        Raises RootLost where it is gone, not a directory, or not readable.
        """
        resolved = os.path.realpath(path)
        try:
            fd = os.open(resolved, O_LIST | O_NOFOLLOW)
        except OSError as error:
            raise RootLost(f"the directory {path} cannot be opened: {_why(error)}") from error
        status = os.fstat(fd)
        return cls(resolved, fd, RootIdentity(status.st_dev, status.st_ino), path)

    def verify(self) -> None:
        """Raise RootLost where the path no longer leads to this very directory.

        That is so when it was removed, renamed, replaced, made a link, or when something was mounted over it.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
            leads_to = status if self._given == self.path else os.stat(self._given)
            os.fstat(self.fd)
        except OSError as error:
            raise RootLost(f"the directory {self.path} cannot be reached: {_why(error)}") from error
        if not stat.S_ISDIR(status.st_mode):
            raise RootLost(f"{self.path} is not a directory any more")
        if any(RootIdentity(each.st_dev, each.st_ino) != self.identity for each in (status, leads_to)):
            raise RootLost(f"another directory stands at {self.path}")

    @contextmanager
    def parent_of(self, path: RelPath) -> Iterator[tuple[int, bytes]]:
        """Hold the directory of `path` open; yield its descriptor (only to walk from) and the last name.

        Raises OSError where a parent is missing, not a directory, or a link.
        """
        name = name_of(path)
        if name in (b"", b".", b".."):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        above = parent(path)
        if not above:
            yield self.fd, name
            return
        self._require_mounts(above)
        fd = self._walk(above, O_WALK)
        try:
            yield fd, name
        finally:
            give_back(fd)

    def walk_to(self, path: RelPath) -> int:
        """Return a descriptor of the directory, ROOT too, only to walk from. Raises OSError as `parent_of`."""
        self._require_mounts(path)
        return self._walk(path or RelPath(b"."), O_WALK)

    def open_directory(self, path: RelPath) -> int:
        """Return a descriptor with which the directory can be listed and synced; ROOT is allowed.

        Raises OSError where it, or a parent, is missing, not a directory, or a link.
        """
        self._require_mounts(path)
        return self._walk(path or RelPath(b"."), O_LIST)

    def read_mark(self) -> bytes | None:
        """Return the replica id that the directory carries; None where there is none or the file system has no room."""
        if not hasattr(os, "getxattr"):
            return None
        try:
            return os.getxattr(self.fd, _MARK)
        except OSError as error:
            if error.errno in (errno.ENODATA, *_NO_MARK):
                return None
            raise RootLost(f"the directory {self.path} cannot be read: {_why(error)}") from error

    def write_mark(self, mark: bytes) -> bool:
        """Make the directory carry its replica id; False where it cannot (no extended attributes, not allowed)."""
        if not hasattr(os, "setxattr"):
            return False
        try:
            os.setxattr(self.fd, _MARK, mark)
            os.fsync(self.fd)
        except OSError as error:
            if error.errno in _NO_MARK:
                return False
            raise RootLost(f"the directory {self.path} cannot be written: {_why(error)}") from error
        return True

    def close(self) -> None:
        """Give the descriptor back; the root must not be used afterwards."""
        give_back(self.fd)

    def _require_mounts(self, path: RelPath) -> None:
        """Raise OSError where `path` is, or lies below, a directory whose file system is gone."""
        for mount in self.mounts:
            if path != mount and not path.startswith(mount + b"/"):
                continue
            try:
                with self.parent_of(mount) as (directory, name):
                    status, above = os.stat(name, dir_fd=directory, follow_symlinks=False), os.stat(directory)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(status.st_mode) and status.st_dev == above.st_dev:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _walk(self, path: bytes, flags: int) -> int:
        current = self.fd
        pieces = list(_pieces(path))
        for index, piece in enumerate(pieces):
            try:
                below = open_beneath(current, piece, flags if index == len(pieces) - 1 else O_WALK)
            finally:
                if current != self.fd:
                    give_back(current)
            current = below
        return current


class Parents:
    """The directories of one batch of looks or of steps, each walked to once and held open.

    One may be moved meanwhile. Then a look learns so from its own hint, and what a step does in it comes out as if the
    directory had been moved right after. Whoever removes a directory closes them before.
    """

    __slots__ = ("_fds", "_root")

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fds: dict[RelPath, int] = {}

    def place_of(self, path: RelPath) -> tuple[int, bytes]:
        """Return the open directory of `path`, and the last name. Raises OSError as `Root.parent_of`."""
        above = parent(path)
        fd = self._fds.get(above)
        if fd is None:
            if len(self._fds) >= _PARENTS_MAX:
                self.close()
            fd = self._fds[above] = self._root.walk_to(above)
        return fd, name_of(path)

    def close(self) -> None:
        """Give the descriptors back."""
        while self._fds:
            give_back(self._fds.popitem()[1])


def _pieces(path: bytes) -> Iterator[bytes]:
    while len(path) > _PIECE_BYTES_MAX:
        cut = path.rindex(b"/", 0, _PIECE_BYTES_MAX)
        yield path[:cut]
        path = path[cut + 1 :]
    yield path


def _why(error: OSError) -> str:
    return "it does not exist" if error.errno == errno.ENOENT else reason_of(error)
