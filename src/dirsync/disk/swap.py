"""The swaps themselves: one atomic rename each, then a look at what came out, and back if it is a surprise.

A surprise is never dropped: where it cannot go back, because somebody was faster again, the newest stays at the
path and the other is kept. Metadata and durability are not decided here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from dirsync.core.entry import Entry
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk import syscalls
from dirsync.disk.guard import Still, check, held_still, is_same, observe
from dirsync.disk.kept import Kept, KeptArea
from dirsync.disk.metadata import known_after
from dirsync.disk.probe import lstat_at
from dirsync.disk.root import fingerprint_of
from dirsync.disk.staging import Staged, Staging

Place = tuple[int, bytes]
"""An open directory and a name in it."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What was staged stands at the path, or stood there for a moment: then there is no index row.

    `kept` is what it replaced.
    """

    known: Known | None
    kept: Kept | None


class Swapper:
    """Swaps between the tree and the staging area; what comes out goes to the kept area, and `kept` lists it.

    `stuck` has the path of what could neither go back nor be kept, by its name in the staging area. `has_moved`:
    something was moved, also where it went back at once. Every method raises OSError.
    """

    def __init__(self, staging: Staging, area: KeptArea) -> None:
        self._staging = staging
        self._area = area
        self.kept: list[Kept] = []
        self.stuck: dict[bytes, RelPath] = {}
        self.has_moved = False

    def place(self, place: Place, staged: Staged, intended: Entry) -> Swapped | Refused:
        """Put what was staged where nothing stands."""
        with held_still(staged.directory, staged.name, staged.lasting_stat) as still:
            # A power cut may bring it back, with what somebody has written to it at its place.
            aside = (staged.directory, self._staging.expose(staged))
            try:
                syscalls.rename_noreplace(*aside, *place)
            except FileExistsError:
                return Refused(observe(*place))
            except PermissionError:
                self._staging.cover(staged)  # it is tried again with the right to write
                raise
            self.has_moved = True
            known = known_at(place, intended, still)
        self._staging.release(staged.name)
        return Swapped(known, None)

    def replace(
        self,
        place: Place,
        path: RelPath,
        staged: Staged,
        intended: Entry,
        expected: Entry,
        known: Known | None,
        why: Why,
    ) -> Swapped | Refused | Failed:
        """Exchange a file or link for what was staged, and keep it."""
        seen = check(*place, expected, known)
        if isinstance(seen, Refused | Failed):
            return seen
        with ExitStack() as undo:
            with held_still(staged.directory, staged.name, staged.lasting_stat) as still:
                ours = still.fingerprint
                aside = (staged.directory, self._staging.expose(staged))
                try:
                    self._exchange(aside, place, path)
                except FileNotFoundError:
                    return Refused(observe(*place, known))
                except PermissionError:
                    self._staging.cover(staged)  # it is tried again with the right to write
                    raise
                self.has_moved = True
                undo.push(_on_failure(partial(self._put_back, aside, place, path, ours)))
                known_now = known_at(place, intended, still)
            is_it = is_same(lstat_at(*aside), seen.fingerprint)
            kept = self._area.keep(*aside, path, expected, self.kept, why) if is_it else None
        if kept is None:
            self._put_back(aside, place, path, ours)
            return Refused(observe(*place, known))
        self._staging.release(staged.name)
        return Swapped(known_now, kept)

    def take_out(
        self, place: Place, path: RelPath, expected: Entry, known: Known | None, why: Why
    ) -> Kept | Refused | Failed:
        """Remove a file or link from the tree, and keep it."""
        seen = check(*place, expected, known)
        if isinstance(seen, Refused | Failed):
            return seen
        aside = self._staging.reserve(path)
        try:
            try:
                # Atomic on every platform: nobody else knows the new name.
                os.rename(place[1], aside[1], src_dir_fd=place[0], dst_dir_fd=aside[0])
            except FileNotFoundError:
                return Refused(observe(*place, known))
            self.has_moved = True
            with ExitStack() as undo:
                undo.push(_on_failure(partial(self._give_back, aside, place, path)))
                is_it = is_same(lstat_at(*aside), seen.fingerprint)
                kept = self._area.keep(*aside, path, expected, self.kept, why) if is_it else None
            if kept is None:
                self._give_back(aside, place, path)
                return Refused(observe(*place, known))
            return kept
        finally:
            self._staging.release(aside[1])

    def move(self, source: Place, target: Place, seen: Fingerprint) -> Refused | None:
        """Rename what was seen at `source` to where nothing stands."""
        try:
            syscalls.rename_noreplace(*source, *target)
        except (FileExistsError, FileNotFoundError):
            return Refused(observe(*target), observe(*source))
        self.has_moved = True
        if not is_same(lstat_at(*target), seen):
            self.move_back(source, target)
            return Refused(observe(*target), observe(*source))
        return None

    @staticmethod
    def move_back(source: Place, target: Place) -> None:
        """Undo a rename; where something new stands at the source by now, both stay where they are."""
        with suppress(FileExistsError):
            syscalls.rename_noreplace(*target, *source)

    def _exchange(self, aside: Place, place: Place, path: RelPath) -> None:
        try:
            syscalls.rename_exchange(*aside, *place)
        except OSError:
            beside = aside[1] + syscalls.BESIDE
            with suppress(FileNotFoundError):
                lstat_at(aside[0], beside)
                self.stuck[beside] = path
            raise

    def _put_back(self, aside: Place, place: Place, path: RelPath, ours: Fingerprint) -> None:
        """Exchange again. What comes out must be ours; otherwise it is newer than what went back and stays instead."""
        with self._stuck_on_failure(aside, path):
            try:
                self._exchange(aside, place, path)
            except FileNotFoundError:
                # Removed meanwhile: the surprise goes back to where its owner last saw it.
                self._give_back(aside, place, path)
                return
            if is_same(lstat_at(*aside), ours):
                return
            try:
                self._exchange(aside, place, path)
            except FileNotFoundError:
                # What went back is gone again: so the newer one is all there is.
                self._give_back(aside, place, path)
            else:
                self._area.keep_all(*aside, path, self.kept)

    def _give_back(self, aside: Place, place: Place, path: RelPath) -> None:
        """Return something to its path; where something newer stands there, or its directory is gone, it is kept."""
        with self._stuck_on_failure(aside, path):
            try:
                syscalls.rename_noreplace(*aside, *place)
            except (FileExistsError, FileNotFoundError):
                self._area.keep_all(*aside, path, self.kept)

    @contextmanager
    def _stuck_on_failure(self, aside: Place, path: RelPath) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.stuck[aside[1]] = path
            raise


def _on_failure(undo: Callable[[], None]) -> Callable[[object, BaseException | None, object], None]:
    """Return what, on the exit of a stack, undoes something where the block failed."""

    def undo_failed(_kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            undo()

    return undo_failed


def known_at(place: Place, intended: Entry, still: Still) -> Known | None:
    """Return the index row for what we put there, and hold still, if that is still it."""
    try:
        status = lstat_at(*place)
    except FileNotFoundError:
        return None
    if not is_same(status, still.fingerprint):
        return None
    return known_after(intended, fingerprint_of(status), is_proven=still.is_proven())
