"""Reads the whole tree, by stat only: what is new, what a stat does not prove unchanged, what is missing.

A scan names suspects; what they are is for a probe. It never calls anything missing below a directory that it could
not list to the end.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from dirsync.core.entry import PERMISSION_BITS, Directory, File
from dirsync.core.fingerprint import Known
from dirsync.core.paths import ROOT, RelPath, ancestors
from dirsync.core.tree import Tree
from dirsync.disk.probe import untracked_reason
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Root
from dirsync.limits import PATH_BYTES_MAX

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
"""What `os.fsencode` uses, without its checks: in the innermost loop they cost a tenth of it."""


@dataclass(slots=True)
class Scan:
    """What a scan found. `directories` has parents before children and leaves out where the scan began.

    `untracked` and `unreadable` give the reasons; nothing below an unreadable directory is a suspect for being
    missing. `mounts` are directories on which other file systems are mounted. `found` counts the files, links and
    directories.
    """

    suspects: set[RelPath] = field(default_factory=set)
    directories: list[RelPath] = field(default_factory=list)
    untracked: dict[RelPath, str] = field(default_factory=dict)
    unreadable: dict[RelPath, str] = field(default_factory=dict)
    mounts: set[RelPath] = field(default_factory=set)
    has_directory_links: bool = False
    found: int = 0


def scan(root: Root, known: Tree[Known], is_ignored: Callable[[RelPath, bool], bool], below: RelPath = ROOT) -> Scan:
    """Compare the tree below `below` with what is known. `is_ignored(path, is_directory)` hides names.

    `known` may change meanwhile: what appears in it is not missed, what goes is at worst one suspect more.
    Raises RootLost.
    """
    root.verify()
    expected = list(known) if below == ROOT else [below, *known.descendants(below)]
    result = _Scanner(root, known, is_ignored).run(below, expected)
    root.verify()
    return result


class _Scanner:
    def __init__(self, root: Root, known: Tree[Known], is_ignored: Callable[[RelPath, bool], bool]) -> None:
        self._root = root
        self._known = known
        self._is_ignored = is_ignored
        self._seen: set[RelPath] = set()
        self._result = Scan()
        self._device = root.identity.device  # of the directory that is being listed

    def run(self, below: RelPath, expected: list[RelPath]) -> Scan:
        result = self._result
        pending = [below]
        self._seen.add(below)
        while pending:
            directory = pending.pop()
            first = len(result.directories)
            try:
                self._list(directory)
            except OSError as error:
                self._give_up(directory, error)
            pending.extend(reversed(result.directories[first:]))
        missing = set(expected).difference(self._seen)
        result.suspects.update(path for path in missing if not self._is_hidden(path))
        return result

    def _give_up(self, directory: RelPath, error: OSError) -> None:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._result.unreadable[directory] = reason_of(error)
        elif directory:
            # It went, or a link took its place, while we walked: it and what was known below it are suspects.
            self._result.suspects.add(directory)

    def _list(self, directory: RelPath) -> None:
        result, see, get_known, is_ignored = self._result, self._seen.add, self._known.get, self._is_ignored
        fd = self._root.open_directory(directory)
        try:
            self._device = os.fstat(fd).st_dev
            above = directory + b"/" if directory else b""
            with os.scandir(fd) as entries:
                for entry in entries:
                    path = RelPath(above + entry.name.encode(_ENCODING, _ERRORS))
                    known = get_known(path)
                    # Nearly all there is: nothing else is done for it.
                    if known is not None and _is_file_unchanged(known, entry) and not is_ignored(path, False):
                        see(path)
                        result.found += 1
                    else:
                        self._note(path, known, entry)
        finally:
            os.close(fd)

    def _note(self, path: RelPath, known: Known | None, entry: "os.DirEntry[str]") -> None:
        result = self._result
        if len(path) > PATH_BYTES_MAX:
            result.untracked[path] = "the path is too long"
            return
        is_directory = entry.is_dir(follow_symlinks=False)
        if self._is_ignored(path, is_directory):
            return
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            result.unreadable[path] = reason_of(error)
            return
        self._seen.add(path)
        reason = None if stat.S_ISREG(status.st_mode) else untracked_reason(status.st_mode)
        if reason is not None:
            result.untracked[path] = reason
            if known is not None:
                result.suspects.add(path)
            return
        result.found += 1
        if known is None or not _is_proven(known, status):
            result.suspects.add(path)
        if is_directory:
            result.directories.append(path)
            if status.st_dev != self._device:
                result.mounts.add(path)
        elif stat.S_ISLNK(status.st_mode) and not result.has_directory_links:
            result.has_directory_links = _leads_to_directory(entry)

    def _is_hidden(self, path: RelPath) -> bool:
        """Return whether an unreadable directory above (or the path itself) keeps us from saying anything."""
        hidden = self._result.unreadable
        if not hidden:
            return False
        return ROOT in hidden or path in hidden or any(above in hidden for above in ancestors(path))


def _is_file_unchanged(known: Known, entry: "os.DirEntry[str]") -> bool:
    """Return whether the stat alone proves it; False also where there is none, which is for others to explain."""
    try:
        return isinstance(known.entry, File) and _is_proven(known, entry.stat(follow_symlinks=False))
    except OSError:
        return False


def _is_proven(known: Known, status: os.stat_result) -> bool:
    before = known.fingerprint
    if isinstance(known.entry, Directory):  # its times and size change with its children
        difference = before.mode ^ status.st_mode
        return stat.S_IFMT(difference) == 0 and difference & PERMISSION_BITS == 0
    # Compared field by field: this is the innermost loop, and making a fingerprint costs as much as the stat.
    inode, size, mtime_ns, ctime_ns, mode = before
    return (
        status.st_mtime_ns == mtime_ns
        and status.st_ctime_ns == ctime_ns
        and status.st_size == size
        and status.st_ino == inode
        and status.st_mode == mode
        and known.is_beyond_doubt
    )


def _leads_to_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
