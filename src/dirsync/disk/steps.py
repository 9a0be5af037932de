"""One step of a batch: from what is expected at a path to what is intended there.

Chooses among the swaps; raises OSError or DiskError where the file system says no. Nothing is durable on return.
"""

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass

from dirsync.core.entry import PERMISSION_BITS, Directory, Entry, File, Symlink
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk.guard import check, check_absent, is_same, observe
from dirsync.disk.kept import Kept, KeptArea
from dirsync.disk.metadata import dress_in_place, known_after, set_directory_mode
from dirsync.disk.probe import lstat_at
from dirsync.disk.removal import IsIgnored, remove_directory
from dirsync.disk.root import Root, fingerprint_of
from dirsync.disk.staging import Staged, Staging
from dirsync.disk.swap import Swapper

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A step with what it needs: the staged content where there is a new one, and the index rows of its paths."""

    action: Action
    staged: Staged | None
    known: Known | None
    known_source: Known | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The step was done. `known` is the index row of its path now.

    It is None where nothing stands there, or where somebody changed it right after: then it must be looked at.
    `leftovers` are ignored names that were in a directory that went.
    """

    entry: Entry | None
    known: Known | None
    kept: Kept | None
    is_renamed: bool = False
    leftovers: tuple[Kept, ...] = ()


Outcome = Done | Refused | Failed


class Stepper:
    """Does single steps in one root. `is_synced`: what a step changes in place is made durable at once."""

    def __init__(self, root: Root, staging: Staging, kept: KeptArea, is_ignored: IsIgnored, *, is_synced: bool) -> None:
        self._root = root
        self._staging = staging
        self._swapper = Swapper(staging, kept)
        self._is_ignored = is_ignored
        self._is_synced = is_synced

    def step(self, prepared: Prepared) -> Outcome:
        """Do one step. Raises OSError, DiskError."""
        action = prepared.action
        if action.renamed_from is not None:
            return self._rename(prepared, action.renamed_from)
        if isinstance(action.expected, Directory):
            return self._from_directory(prepared, action.expected)
        with ExitStack() as stack:
            try:
                directory, name = stack.enter_context(self._root.parent_of(action.path))
            except OSError as error:
                if action.expected is None or error.errno not in _ABSENT:
                    raise
                return Refused(None)
            if action.expected is None:
                return self._from_nothing(prepared, directory, name)
            return self._from_file(prepared, action.expected, directory, name)

    def _from_nothing(self, prepared: Prepared, directory: int, name: bytes) -> Outcome:
        match prepared.action.intended:
            case None:
                return check_absent(directory, name, prepared.known) or Done(None, None, None)
            case Directory() as intended:
                return self._make_directory(prepared.action.path, intended, directory, name)
            case intended:
                return self._place(prepared, intended, directory, name)

    def _from_file(self, prepared: Prepared, expected: File | Symlink, directory: int, name: bytes) -> Outcome:
        action = prepared.action
        match action.intended:
            case None:
                kept = self._take_out(prepared, expected, directory, name, Why.DELETED)
                return Done(None, None, kept) if isinstance(kept, Kept) else kept
            case Directory() as intended:
                kept = self._take_out(prepared, expected, directory, name, Why.REPLACED)
                if not isinstance(kept, Kept):
                    return kept
                done = self._make_directory(action.path, intended, directory, name)
                return Done(intended, done.known, kept) if isinstance(done, Done) else done
            case File() as intended if isinstance(expected, File) and intended.digest == expected.digest:
                return self._set_metadata(prepared, expected, intended, directory, name)
            case Symlink() as intended if intended == expected:
                seen = check(directory, name, expected, prepared.known)
                return seen if isinstance(seen, Refused | Failed) else Done(expected, prepared.known, None)
            case intended:
                return self._replace(prepared, expected, intended, directory, name)

    def _from_directory(self, prepared: Prepared, expected: Directory) -> Outcome:
        action = prepared.action
        if isinstance(action.intended, Directory):
            return self._set_mode(prepared, expected, action.intended)
        leftovers: list[Kept] = []
        try:
            failed = remove_directory(
                self._root, self._swapper, action.path, expected, prepared.known, self._is_ignored, leftovers
            )
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return Refused(None)
        if failed is not None:
            return failed
        if action.intended is None:
            return Done(None, None, None, leftovers=tuple(leftovers))
        with self._root.parent_of(action.path) as (directory, name):
            done = self._place(prepared, action.intended, directory, name)
        return Done(action.intended, done.known, None, leftovers=tuple(leftovers)) if isinstance(done, Done) else done

    def _place(self, prepared: Prepared, intended: File | Symlink, directory: int, name: bytes) -> Outcome:
        staged = prepared.staged
        assert staged is not None
        ours = fingerprint_of(lstat_at(staged.directory, staged.name))
        refused = self._swapper.place(directory, name, staged)
        return refused or Done(intended, _known_at(directory, name, intended, ours), None)

    def _replace(
        self, prepared: Prepared, expected: File | Symlink, intended: File | Symlink, directory: int, name: bytes
    ) -> Outcome:
        action, staged = prepared.action, prepared.staged
        assert staged is not None
        ours = fingerprint_of(lstat_at(staged.directory, staged.name))
        why = Why.CONFLICT if action.is_conflict else Why.REPLACED
        kept = self._swapper.replace(directory, name, action.path, staged, expected, prepared.known, why)
        if not isinstance(kept, Kept):
            return kept
        return Done(intended, _known_at(directory, name, intended, ours), kept)

    def _take_out(
        self, prepared: Prepared, expected: File | Symlink, directory: int, name: bytes, why: Why
    ) -> Kept | Refused | Failed:
        action = prepared.action
        why = Why.CONFLICT if action.is_conflict else why
        return self._swapper.take_out(directory, name, action.path, expected, prepared.known, why)

    def _make_directory(self, path: RelPath, intended: Directory, directory: int, name: bytes) -> Outcome:
        mode = intended.mode & PERMISSION_BITS
        staged = self._staging.directory(path)
        try:
            # A directory can only be moved by somebody who may write in it.
            os.chmod(staged.name, mode | stat.S_IRWXU, dir_fd=staged.directory)
            refused = self._swapper.place(directory, name, staged)
        finally:
            self._staging.discard(staged)
        if refused is not None:
            return refused
        if mode != mode | stat.S_IRWXU:
            set_directory_mode(directory, name, mode)
        return Done(intended, _known_directory(directory, name, intended), None)

    def _set_mode(self, prepared: Prepared, expected: Directory, intended: Directory) -> Outcome:
        with self._root.parent_of(prepared.action.path) as (directory, name):
            found = observe(directory, name, prepared.known)
            if found != expected:
                return Refused(found)
            set_directory_mode(directory, name, intended.mode)
            return Done(intended, _known_directory(directory, name, intended), None)

    def _set_metadata(self, prepared: Prepared, expected: File, intended: File, directory: int, name: bytes) -> Outcome:
        seen = check(directory, name, expected, prepared.known)
        if isinstance(seen, Refused | Failed):
            return seen
        known = dress_in_place(directory, name, intended, seen.fingerprint, is_synced=self._is_synced)
        return Done(intended, known, None) if isinstance(known, Known) else known

    def _rename(self, prepared: Prepared, old_path: RelPath) -> Outcome:
        action = prepared.action
        assert action.expected_source is not None
        assert isinstance(action.intended, File)
        with ExitStack() as stack:
            target = stack.enter_context(self._root.parent_of(action.path))
            try:
                source = stack.enter_context(self._root.parent_of(old_path))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                return Refused(observe(*target), None)
            seen = self._swapper.move(source, target, action.expected_source, prepared.known_source)
            if not isinstance(seen, Fingerprint):
                return seen
            known = self._dress_moved(source, target, action.expected_source, action.intended, seen)
        if isinstance(known, Refused | Failed):
            return known
        return Done(action.intended, known, None, is_renamed=True)

    def _dress_moved(
        self,
        source: tuple[int, bytes],
        target: tuple[int, bytes],
        expected: File,
        intended: File,
        seen: Fingerprint,
    ) -> Known | Refused | Failed | None:
        """Give a renamed file its new metadata, if it has any; the rename is undone where that fails."""
        if intended == expected:
            return _known_at(*target, intended, seen)
        try:
            known = dress_in_place(*target, intended, seen, is_synced=self._is_synced)
        except OSError:
            self._swapper.move_back(source, target)
            raise
        if isinstance(known, Known):
            return known
        self._swapper.move_back(source, target)
        return known if isinstance(known, Failed) else Refused(observe(*target), observe(*source))


def _known_at(directory: int, name: bytes, intended: File | Symlink, ours: Fingerprint) -> Known | None:
    """Return the row for what we put there, if that is still it."""
    try:
        status = lstat_at(directory, name)
    except FileNotFoundError:
        return None
    return known_after(intended, fingerprint_of(status)) if is_same(status, ours) else None


def _known_directory(directory: int, name: bytes, intended: Directory) -> Known | None:
    try:
        present = fingerprint_of(lstat_at(directory, name))
    except FileNotFoundError:
        return None
    return Known(intended, present, present.ctime_ns) if stat.S_ISDIR(present.mode) else None
