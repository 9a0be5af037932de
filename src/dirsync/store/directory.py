"""The state directory itself: private to its owner, and used by one server at a time.

Owns the permissions and the lock file; what else stands in the directory belongs to others.
"""

import errno
import os
import sys
from pathlib import Path

from dirsync.errors import StateError

LOCK_NAME = "lock"

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def make_private(directory: Path) -> None:
    """Make `directory`, and whatever is missing above it, accessible to its owner only.

    What was there above it stays as it is. A new directory is durable on return. Raises StateError.
    """
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            _sync(path.parent)
        directory.chmod(0o700)
    except OSError as error:
        raise StateError(f"cannot use the state directory {directory}: {error.strerror}") from error


def take_lock(directory: Path) -> int:
    """Lock the state directory for this process and return the descriptor that holds the lock until it is closed.

    It is the kernel's lock, not the file: it ends with the process, however that ends. Raises StateError.
    """
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(f"cannot use the state directory {directory}: {error.strerror}") from error
    try:
        _lock_nowait(descriptor)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _TAKEN:
            raise StateError(f"another server is running on this state directory ({directory})") from error
        raise StateError(f"cannot lock the state directory {directory}: {error.strerror}") from error
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _lock_nowait(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _sync(_directory: Path) -> None:
        """Directories cannot be opened there; NTFS journals their changes itself."""

else:
    import fcntl

    def _lock_nowait(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _sync(directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
