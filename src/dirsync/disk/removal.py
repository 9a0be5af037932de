"""Removing directories: only when nothing is left in them but names that are ignored, which are kept first."""

import errno
import os
from collections.abc import Callable, Sequence

from dirsync.core.entry import Directory, Observed
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath, join
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk.guard import observe
from dirsync.disk.kept import Kept, is_file_or_link
from dirsync.disk.probe import Settled, lstat_at, observed, probe_at
from dirsync.disk.root import Root
from dirsync.disk.swap import Place, Swapper

IsIgnored = Callable[[RelPath, bool], bool]
NoteNames = Callable[[Sequence[RelPath]], None]
"""Makes names durable that no index knows, before what bears them is moved to the kept files."""
_NOT_EMPTY = Failed("the directory is not empty", is_passing=True)


def remove_directory(
    root: Root,
    swapper: Swapper,
    path: RelPath,
    expected: Directory,
    known: Known | None,
    is_ignored: IsIgnored,
    note_names: NoteNames,
) -> Refused | Failed | None:
    """Remove `path` if it is `expected` and nothing of interest is in it; what was ignored is kept.

    `note_names` is told the names of that before any of it is moved. Raises OSError, and what `note_names` raises.
    """
    with root.parent_of(path) as (directory, name):
        found: Observed = observe(directory, name, known)
        if found != expected:
            return Refused(found)
        leftovers = _children(root, path)
        if any(not is_ignored(child, is_directory) for child, is_directory in leftovers):
            return _NOT_EMPTY
        below = _all_below(root, leftovers)
        names = [child for child, is_directory in below if not is_directory]
        if names:
            note_names(names)
        failed = _clear(root, swapper, below)
        if failed is not None:
            return failed
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return _NOT_EMPTY
            raise
    return None


def _children(root: Root, path: RelPath) -> list[tuple[RelPath, bool]]:
    fd = root.open_directory(path)
    try:
        with os.scandir(fd) as entries:
            return [(join(path, os.fsencode(each.name)), each.is_dir(follow_symlinks=False)) for each in entries]
    finally:
        os.close(fd)


def _all_below(root: Root, leftovers: list[tuple[RelPath, bool]]) -> list[tuple[RelPath, bool]]:
    """Return the leftovers with everything below them, children before their directory."""
    found: list[tuple[RelPath, bool]] = []
    pending = list(leftovers)
    while pending:
        path, is_directory = pending.pop()
        found.append((path, is_directory))
        if is_directory:
            pending.extend(_children(root, path))
    return found[::-1]


def _clear(root: Root, swapper: Swapper, below: list[tuple[RelPath, bool]]) -> Refused | Failed | None:
    """Keep the files and links, remove the directories, in this order."""
    for path, is_directory in below:
        with root.parent_of(path) as (directory, name):
            if is_directory:
                os.rmdir(name, dir_fd=directory)
                continue
            failed = _keep_one(swapper, (directory, name), path)
        if failed is not None:
            return failed
    return None


def _keep_one(swapper: Swapper, place: Place, path: RelPath) -> Failed | None:
    if not is_file_or_link(lstat_at(*place)):
        return _NOT_EMPTY
    found = probe_at(*place, None)
    if not isinstance(found, Settled):
        return Failed(f"something ignored in the directory cannot be kept: {observed(found)}")
    known = Known(found.entry, found.fingerprint, found.looked_ns)
    result = swapper.take_out(place, path, found.entry, known, Why.DELETED)
    return None if isinstance(result, Kept) else _NOT_EMPTY
