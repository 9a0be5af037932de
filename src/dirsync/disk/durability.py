"""When something counts as on the disk: content before its name, names before anybody is told.

Up to SINGLE_SYNCS_MAX files are synced one by one, more of them with their whole file system; not while something
large is being written there, because that would wait for it.
"""

import errno
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from dirsync.core.paths import RelPath
from dirsync.disk.root import Root
from dirsync.disk.syscalls import O_LIST, give_back, has_sync_file_system, sync_file_system

SINGLE_SYNCS_MAX = 16
"""Beyond this one sync of the file system is cheaper."""
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class BatchSync:
    """How one batch is made durable; made before the first of it is written, and entered to be given back.

    `is_whole`: by syncs of its whole file system. They go by a descriptor of their own: the kernel tells each one once
    of what could not be written since it was opened, so no other sync takes that away.
    """

    def __init__(self, root: Root, steps: int, *, is_receiving: bool) -> None:
        """Choose for a batch of so many steps. `is_receiving`: something large is being written there."""
        self._fd: int | None = None
        if steps > SINGLE_SYNCS_MAX and not is_receiving and has_sync_file_system():
            try:
                self._fd = os.open(b".", O_LIST, dir_fd=root.fd)
            except OSError:
                return  # one by one it can be done all the same, or fails with a reason

    @property
    def is_whole(self) -> bool:
        """Whether one sync makes all of it durable."""
        return self._fd is not None

    def sync(self) -> None:
        """Make everything on the file system durable. Raises OSError, also for what failed since this was made."""
        assert self._fd is not None
        sync_file_system(self._fd)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            give_back(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sync_all(root: Root) -> None:
    """Make everything durable that stands in the file system of a root, whoever put it there. Raises OSError."""
    if has_sync_file_system():
        sync_file_system(root.fd)
    elif hasattr(os, "sync"):
        os.sync()


def sync_directory(fd: int) -> None:
    """Make the names in a directory durable, where its file system can do that at all. Raises OSError."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_directories(root: Root, paths: Iterable[RelPath]) -> dict[RelPath, OSError]:
    """Make these directories durable; return the errors. One that is gone needs nothing: its parent is among them."""
    errors = {}
    for path in paths:
        try:
            fd = root.open_directory(path)
        except OSError as error:
            if error.errno not in _GONE:
                errors[path] = error
            continue
        try:
            sync_directory(fd)
        except OSError as error:
            errors[path] = error
        finally:
            give_back(fd)
    return errors
