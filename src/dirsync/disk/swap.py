"""The swaps themselves: one atomic rename each, then a look at what came out, and back if it is a surprise.

A surprise is never dropped: where it cannot go back, because somebody was faster again, the newest stays at the
path and the other waits in the staging area to be found as a stray. Metadata and durability are not decided here.
"""

import os
from contextlib import suppress

from dirsync.core.entry import Entry, File
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk import syscalls
from dirsync.disk.guard import check, check_absent, is_same, observe
from dirsync.disk.kept import Kept, KeptArea
from dirsync.disk.probe import lstat_at
from dirsync.disk.staging import Staged, Staging


class Swapper:
    """Swaps between the tree and the staging area; what comes out goes to the kept area.

    Every method gets the directory and name of `path`, raises OSError, and returns None for "done, nothing kept".
    """

    def __init__(self, staging: Staging, kept: KeptArea) -> None:
        self._staging = staging
        self._kept = kept

    def place(self, directory: int, name: bytes, staged: Staged) -> Refused | None:
        """Put what was staged where nothing stands."""
        refused = check_absent(directory, name, None)
        if refused is not None:
            return refused
        try:
            syscalls.rename_noreplace(staged.directory, staged.name, directory, name)
        except FileExistsError:
            return Refused(observe(directory, name))
        self._staging.release(staged.name)
        return None

    def replace(
        self, directory: int, name: bytes, path: RelPath, staged: Staged, expected: Entry, known: Known | None, why: Why
    ) -> Kept | Refused | Failed:
        """Exchange a file or link for what was staged, and keep it."""
        seen = check(directory, name, expected, known)
        if isinstance(seen, Refused | Failed):
            return seen
        ours = lstat_at(staged.directory, staged.name)
        out = self._staging.expose(staged)
        try:
            syscalls.rename_exchange(staged.directory, out, directory, name)
        except FileNotFoundError:
            return Refused(observe(directory, name, known))
        if not is_same(lstat_at(staged.directory, out), seen.fingerprint):
            self._put_back(staged, directory, name, ours)
            return Refused(observe(directory, name, known))
        try:
            file, entry = self._kept.keep(staged.directory, out, path, expected)
        except OSError:
            self._put_back(staged, directory, name, ours)
            raise
        self._staging.release(staged.name)
        return Kept(file, entry, path, why)

    def take_out(
        self, directory: int, name: bytes, path: RelPath, expected: Entry, known: Known | None, why: Why
    ) -> Kept | Refused | Failed:
        """Remove a file or link from the tree, and keep it."""
        seen = check(directory, name, expected, known)
        if isinstance(seen, Refused | Failed):
            return seen
        aside, out = self._staging.reserve(path)
        try:
            try:
                syscalls.rename_noreplace(directory, name, aside, out)
            except FileNotFoundError:
                return Refused(observe(directory, name, known))
            if not is_same(lstat_at(aside, out), seen.fingerprint):
                self._give_back(aside, out, directory, name)
                return Refused(observe(directory, name, known))
            try:
                file, entry = self._kept.keep(aside, out, path, expected)
            except OSError:
                self._give_back(aside, out, directory, name)
                raise
        finally:
            self._staging.release(out)
        return Kept(file, entry, path, why)

    def move(
        self,
        source: tuple[int, bytes],
        target: tuple[int, bytes],
        expected: File,
        known: Known | None,
    ) -> Fingerprint | Refused | Failed:
        """Rename a file to where nothing stands; return the stat it was recognised by."""
        seen = check(*source, expected, known)
        if isinstance(seen, Failed):
            return seen
        if isinstance(seen, Refused):
            return Refused(observe(*target), seen.found)
        try:
            syscalls.rename_noreplace(*source, *target)
        except FileExistsError:
            return Refused(observe(*target), observe(*source, known))
        except FileNotFoundError:
            return Refused(observe(*target), observe(*source))
        if not is_same(lstat_at(*target), seen.fingerprint):
            self.move_back(source, target)
            return Refused(observe(*target), observe(*source))
        return seen.fingerprint

    @staticmethod
    def move_back(source: tuple[int, bytes], target: tuple[int, bytes]) -> None:
        """Undo a rename; where something new stands at the source by now, both stay where they are."""
        with suppress(FileExistsError):
            syscalls.rename_noreplace(*target, *source)

    def _put_back(self, staged: Staged, directory: int, name: bytes, ours: os.stat_result) -> None:
        """Exchange again. What comes out must be ours; otherwise it is newer than what went back and stays instead."""
        try:
            syscalls.rename_exchange(staged.directory, staged.swap_name, directory, name)
        except FileNotFoundError:
            # Removed meanwhile: the surprise goes back to where its owner last saw it.
            self._give_back(staged.directory, staged.swap_name, directory, name)
            return
        came_out = lstat_at(staged.directory, staged.swap_name)
        if (came_out.st_ino, came_out.st_size, came_out.st_mtime_ns) != (ours.st_ino, ours.st_size, ours.st_mtime_ns):
            syscalls.rename_exchange(staged.directory, staged.swap_name, directory, name)
            self._staging.release(staged.name)

    def _give_back(self, aside: int, out: bytes, directory: int, name: bytes) -> None:
        """Return something to its path; where something newer stands there it waits as a stray."""
        with suppress(FileExistsError):
            syscalls.rename_noreplace(aside, out, directory, name)
