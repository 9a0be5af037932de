"""Which directory this is: the one of last time, or another that only has its name.

Owns the replica's id and how it is recognised: by the mark the root carries, else by file system and inode. A root
that is another one, or that lost all its files while nobody watched, is no wish to delete anything.
"""

import os
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass

from dirsync.core.paths import ROOT, RelPath, join
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Root
from dirsync.errors import RootLost
from dirsync.store import index_rows, leaving_names, meta
from dirsync.store.database import Database

_ID_KEY = "replica_id"
_ROOT_KEY = "replica_root"
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """The replica's id. `is_new` where nothing known of before holds; `reason` says why if something was known."""

    replica_id: bytes
    is_new: bool
    reason: str = ""


def identify(database: Database, root: Root, had_files: bool, is_ignored: Callable[[RelPath, bool], bool]) -> Identity:
    """Recognise the directory, or give it a new id and forget what was known. Blocking.

    `had_files` says whether any were there when it was last looked at. Raises StateError and RootLost.
    """
    with database.transaction() as connection:
        stored = meta.get(connection, _ID_KEY)
        stored_root = meta.get(connection, _ROOT_KEY)
    place = struct.pack(">QQ", root.identity.device, root.identity.inode)
    identity = _judge(root, stored, stored_root == place, had_files, is_ignored)
    if identity.is_new or root.read_mark() is None:
        root.write_mark(identity.replica_id)
    with database.transaction() as connection:
        meta.put(connection, _ID_KEY, identity.replica_id)
        meta.put(connection, _ROOT_KEY, place)
        if identity.is_new:
            # A crash may have left a kept file that only a name of the index can be given back to.
            leaving_names.add_indexed(connection)
            index_rows.clear(connection)
    return identity


def _judge(
    root: Root,
    stored: bytes | None,
    is_same_place: bool,
    had_files: bool,
    is_ignored: Callable[[RelPath, bool], bool],
) -> Identity:
    fresh = secrets.token_bytes(_ID_BYTES)
    if stored is None:
        return Identity(fresh, is_new=True)
    mark = root.read_mark()
    if mark != stored if mark is not None else not is_same_place:
        return Identity(fresh, True, f"another directory than last time stands at {root.path}")
    if had_files and not _holds_a_file(root, is_ignored):
        return Identity(fresh, True, f"the directory {root.path} holds no file any more")
    return Identity(stored, is_new=False)


def _holds_a_file(root: Root, is_ignored: Callable[[RelPath, bool], bool]) -> bool:
    """Return whether anything but directories is there; what cannot be listed may hold some. Raises RootLost."""
    stack = [ROOT]
    while stack:
        directory = stack.pop()
        try:
            children = _list(root, directory)
        except OSError as error:
            if directory == ROOT:
                raise RootLost(f"the directory {root.path} cannot be listed: {reason_of(error)}") from error
            return True
        for path, is_directory in children:
            if is_ignored(path, is_directory):
                continue
            if not is_directory:
                return True
            stack.append(path)
    return False


def _list(root: Root, directory: RelPath) -> list[tuple[RelPath, bool]]:
    """Return what is in a directory, and for each whether it is one, to the end of the listing. Raises OSError."""
    fd = root.open_directory(directory)
    try:
        with os.scandir(fd) as entries:
            return [(join(directory, os.fsencode(e.name)), e.is_dir(follow_symlinks=False)) for e in entries]
    finally:
        os.close(fd)
