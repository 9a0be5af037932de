"""What is found in the staging area that nobody waits for: whose it is, and what becomes of it.

The names say it: `staging` gives them. What may be somebody's is never removed.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from dirsync.core.entry import Digest, Symlink
from dirsync.core.paths import RelPath
from dirsync.disk.guard import has_writer
from dirsync.disk.kept import PATH_HASH_CHARS, entry_at, is_file_or_link
from dirsync.disk.probe import lstat_at
from dirsync.disk.reading import digest_of

OURS = b"new-"
"""Begins the name of what was staged and never swapped: after a crash it is dropped, whatever became of it."""
_STALE_SECONDS = 7 * 86_400
"""A transfer that was not resumed for so long is dropped."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Something of somebody's that a crash left in the staging area; `path` is None where the path is not known."""

    path: RelPath | None
    directory: int
    name: bytes


def is_received(name: bytes) -> bool:
    """Return whether this is the name of a received content, not of what is staged for a path."""
    return not name.startswith(OURS) and len(name.partition(b"-")[0]) != PATH_HASH_CHARS


def judge(directory: int, name: bytes, path_of: Callable[[bytes], RelPath | None]) -> Stray | None:
    """Remove what is ours and not needed; return what is somebody's. Raises OSError."""
    if name.startswith(OURS):
        remove(directory, name)
        return None
    hashed, _, rest = name.partition(b"-")
    if is_received(name):
        _drop_if_stale(directory, name)
        return None
    try:
        os.rmdir(name, dir_fd=directory)
    except NotADirectoryError:
        if _is_ours(directory, name, rest.partition(b"-")[0]):
            os.unlink(name, dir_fd=directory)
            return None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    else:
        return None
    return Stray(path_of(hashed), directory, name)


def is_untouched(directory: int, name: bytes, digest: Digest) -> bool:
    """Return whether a file that has been in the tree is as it was staged, with nobody writing to it. Raises OSError.

    Of a link or directory nothing can be lost: what somebody made in a directory keeps it from being removed.
    """
    if not stat.S_ISREG(lstat_at(directory, name).st_mode):
        return True
    try:
        return not has_writer(directory, name) and _is_ours(directory, name, digest.hex().encode())
    except PermissionError:
        return True  # by its intended bits nobody may read it, so nobody has gone on from it


def remove(directory: int, name: bytes) -> None:
    """Remove a file, link or empty directory. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        os.rmdir(name, dir_fd=directory)


def _is_ours(directory: int, name: bytes, digest_hex: bytes) -> bool:
    """Return whether a file or link is what was staged under this digest."""
    if not is_file_or_link(lstat_at(directory, name)):
        return False
    entry = entry_at(directory, name)
    digest = digest_of(entry.target) if isinstance(entry, Symlink) else entry.digest
    return digest.hex().encode() == digest_hex


def _drop_if_stale(directory: int, name: bytes) -> None:
    if time.time() - lstat_at(directory, name).st_mtime > _STALE_SECONDS:
        os.unlink(name, dir_fd=directory)
