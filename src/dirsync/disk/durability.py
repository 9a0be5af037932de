"""When something counts as on the disk: content before its name, names before anybody is told.

Up to SINGLE_SYNCS_MAX files are synced one by one, more of them with their whole file system; not while something
large is being written there, because that would wait for it.
"""

import errno
import os
from collections.abc import Iterable

from dirsync.core.paths import RelPath
from dirsync.disk.root import Root
from dirsync.disk.syscalls import give_back, has_sync_file_system, sync_file_system

SINGLE_SYNCS_MAX = 16
"""Beyond this one sync of the file system is cheaper."""
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


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
