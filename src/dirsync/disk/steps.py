"""One step of a batch: from what is expected at a path to what is intended there.

Chooses among the swaps; raises OSError or DiskError where the file system says no. Nothing is durable on return.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import NamedTuple

from dirsync.core.entry import PERMISSION_BITS, Directory, Entry, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk.guard import HAS_WRITER, Seen, Still, check, check_absent, compare, held_still, observe
from dirsync.disk.kept import Kept, KeptArea
from dirsync.disk.metadata import dress_in_place, known_after, set_directory_mode
from dirsync.disk.probe import lstat_at
from dirsync.disk.removal import IsIgnored, NoteNames, remove_directory
from dirsync.disk.root import Parents, Root, fingerprint_of
from dirsync.disk.staging import Staged, Staging
from dirsync.disk.swap import Place, Swapped, Swapper, known_at
from dirsync.disk.unlocking import Unlocking, is_closed

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Prepared(NamedTuple):
    """A step with what it needs, and the index rows of its paths.

    `staged` is the content where there is a new one, or where what stands there must not be changed in place.
    """

    action: Action
    staged: Staged | None
    known: Known | None
    known_source: Known | None = None


class Done(NamedTuple):
    """The step was done. `known` is the index row of its path now.

    It is None where nothing stands there, or where somebody changed it right after: then it must be looked at.
    """

    entry: Entry | None
    known: Known | None
    kept: Kept | None
    is_renamed: bool = False


Outcome = Done | Refused | Failed


class Stepper:
    """Does the steps of one batch in one root. `is_synced`: what a step changes in place is made durable at once.

    `kept` lists everything that was set aside, whatever became of the step; `stuck` is that of the swapper. Files are
    reached by the directories of `parents`, for the caller to close.
    """

    def __init__(
        self,
        root: Root,
        staging: Staging,
        kept: KeptArea,
        is_ignored: IsIgnored,
        note_names: NoteNames,
        unlocking: Unlocking,
        *,
        is_synced: bool,
    ) -> None:
        self._root = root
        self.parents = Parents(root)
        self._unlocking = unlocking
        self._staging = staging
        self._swapper = Swapper(staging, kept)
        self.kept = self._swapper.kept
        self.stuck = self._swapper.stuck
        self._is_ignored = is_ignored
        self._note_names = note_names
        self._is_synced = is_synced

    @property
    def has_moved(self) -> bool:
        """Whether a step has moved something, also where it was put back."""
        return self._swapper.has_moved

    def step(self, prepared: Prepared) -> Outcome:
        """Do one step. Raises OSError, DiskError."""
        action = prepared.action
        if action.renamed_from is not None:
            return self._rename(prepared, action.renamed_from)
        if isinstance(action.expected, Directory):
            return self._from_directory(prepared, action.expected)
        try:
            place = self.parents.place_of(action.path)
        except OSError as error:
            if error.errno not in _ABSENT or (action.expected is None and action.intended is not None):
                raise
            return Done(None, None, None) if action.expected is None else Refused(None)
        if action.expected is None:
            return self._from_nothing(prepared, place)
        return self._from_file(prepared, action.expected, place)

    def _from_nothing(self, prepared: Prepared, place: Place) -> Outcome:
        if prepared.action.intended is None:
            return check_absent(*place, prepared.known) or Done(None, None, None)
        return self._place(prepared, prepared.action.intended, place)

    def _from_file(self, prepared: Prepared, expected: File | Symlink, place: Place) -> Outcome:
        action = prepared.action
        match action.intended:
            case None:
                why = Why.CONFLICT if action.is_conflict else Why.DELETED
                kept = self._swapper.take_out(place, action.path, expected, prepared.known, why)
                return Done(None, None, kept) if isinstance(kept, Kept) else kept
            case File() as intended if prepared.staged is None:
                assert isinstance(expected, File)
                return self._set_metadata(prepared, expected, intended, place)
            case Symlink() as intended if intended == expected:
                seen = check(*place, expected, prepared.known)
                return seen if isinstance(seen, Refused | Failed) else Done(expected, prepared.known, None)
            case intended:
                return self._replace(prepared, expected, intended, place)

    def _from_directory(self, prepared: Prepared, expected: Directory) -> Outcome:
        action = prepared.action
        if isinstance(action.intended, Directory):
            return self._set_mode(prepared, expected, action.intended)
        self.parents.close()  # of this one, and of what is below it, nothing is held open any more
        try:
            failed = remove_directory(
                *(self._root, self._swapper, action.path, expected, prepared.known),
                self._is_ignored,
                self._note_names,
            )
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return Refused(None)
        if failed is not None:
            return failed
        if action.intended is None:
            return Done(None, None, None)
        with self._root.parent_of(action.path) as place:
            return self._place(prepared, action.intended, place)

    def _place(self, prepared: Prepared, intended: Entry, place: Place) -> Outcome:
        with self._staged(prepared, intended) as staged:
            return self._finished(self._swapper.place(place, staged, intended), intended, place)

    def _replace(self, prepared: Prepared, expected: File | Symlink, intended: Entry, place: Place) -> Outcome:
        action = prepared.action
        why = Why.CONFLICT if action.is_conflict else Why.REPLACED
        with self._staged(prepared, intended) as staged:
            swapped = self._swapper.replace(place, action.path, staged, intended, expected, prepared.known, why)
            return self._finished(swapped, intended, place)

    @contextmanager
    def _staged(self, prepared: Prepared, intended: Entry) -> Iterator[Staged]:
        """Give out what was staged for the step; a directory is made here, and dropped where it was not used."""
        if not isinstance(intended, Directory):
            assert prepared.staged is not None
            yield prepared.staged
            return
        path, mode = prepared.action.path, intended.mode & PERMISSION_BITS
        staged = self._staging.directory(path)
        try:
            # A directory can only be moved by somebody who may write in it.
            os.chmod(staged.name, mode | stat.S_IRWXU, dir_fd=staged.directory)
            with self._unlocking.placed_open(path, staged.inode, mode) if is_closed(mode) else nullcontext():
                yield staged
        finally:
            self._staging.discard(staged)

    @staticmethod
    def _finished(swapped: Swapped | Refused | Failed, intended: Entry, place: Place) -> Outcome:
        if not isinstance(swapped, Swapped):
            return swapped
        known = swapped.known
        if isinstance(intended, Directory) and is_closed(intended.mode) and known is not None:
            known = _with_mode(place, intended)
        return Done(intended, known, swapped.kept)

    def _set_mode(self, prepared: Prepared, expected: Directory, intended: Directory) -> Outcome:
        with self._root.parent_of(prepared.action.path) as place:
            found = observe(*place, prepared.known)
            if found != expected:
                return Refused(found)
            return Done(intended, _with_mode(place, intended), None)

    def _set_metadata(self, prepared: Prepared, expected: File, intended: File, place: Place) -> Outcome:
        seen = compare(*place, expected, prepared.known)
        if isinstance(seen, Refused | Failed):
            return seen
        with ExitStack() as stack:
            still = _still_there(stack, place, seen)
            if still is None:
                return Refused(observe(*place))
            if isinstance(still, Failed):
                return still
            if still.names > 1:
                return Failed("it was given a second name at the same moment", is_passing=True)
            known = dress_in_place(still, *place, intended, is_synced=self._is_synced)
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
            seen = compare(*source, action.expected_source, prepared.known_source)
            if isinstance(seen, Failed):
                return seen
            if isinstance(seen, Refused):
                return Refused(observe(*target), seen.found)
            still = _still_there(stack, source, seen)
            if still is None:
                return Refused(observe(*target), observe(*source))
            if isinstance(still, Failed):
                return still
            refused = self._swapper.move(source, target, seen.fingerprint)
            if refused is not None:
                return refused
            known: Known | Failed | None
            try:
                # Its other names keep their time and bits: new ones are a step of their own, on a copy.
                intended = action.expected_source if still.names > 1 else action.intended
                if intended == action.expected_source:
                    # Nothing to set, and so the time that somebody gives it at this moment stays.
                    known = known_at(target, intended, still)
                else:
                    known = dress_in_place(still, *target, intended, is_synced=self._is_synced)
            except OSError:
                self._swapper.move_back(source, target)
                raise
            if isinstance(known, Failed):
                self._swapper.move_back(source, target)
                return known
        return Done(intended, known, None, is_renamed=True)


def _still_there(stack: ExitStack, place: Place, seen: Seen) -> Still | Failed | None:
    """Have the file that was seen stand still until the end of the stack; None where it is not there any more.

    A file that some program is writing to right now is left alone, as by `check`.
    """
    try:
        still = stack.enter_context(held_still(*place))
    except FileNotFoundError:
        return None
    if still.fd is None or still.fingerprint != seen.fingerprint:
        return None
    return HAS_WRITER if still.has_writer and not seen.is_quiet else still


def _with_mode(place: Place, intended: Directory) -> Known | None:
    """Give a directory its bits; return its row, None where something else stands there right after."""
    stored = set_directory_mode(*place, intended.mode)
    try:
        present = fingerprint_of(lstat_at(*place))
    except FileNotFoundError:
        return None
    is_it = (present.inode, present.mode) == (stored.inode, stored.mode)
    return known_after(intended, present, is_proven=False) if is_it else None
