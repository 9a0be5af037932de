"""Directories of ours that forbid writing to ourselves, open for one step.

A read-only directory (a module cache, `chmod -R a-w`) protects from slips of people and programs, not from being kept
the same as its counterpart. The root itself is never touched: its bits are nobody's but its owner's. What is opened up,
or put in its place open, is noted in the state directory first, so that a start closes what a crash left open.
"""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dirsync.core.paths import ROOT, RelPath
from dirsync.disk.durability import sync_directory
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Root
from dirsync.disk.syscalls import O_LIST
from dirsync.errors import DiskError


class Unlocking:
    """Opens up directories of one root. Usable from several threads."""

    def __init__(self, root: Root, state: Path) -> None:
        """Put back what was left open when the last server died. Raises DiskError."""
        self._root = root
        self._notes = state / "opened"
        try:
            self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in os.listdir(self._notes):
                self._put_back(self._notes / name)
        except OSError as error:
            raise DiskError(f"the notes of opened directories cannot be used: {reason_of(error)}") from error

    @contextmanager
    def made_writable(self, directories: Iterable[RelPath]) -> Iterator[bool]:
        """Give the owner all rights in these directories until the block ends; yield whether that changed anything.

        Directories of other owners are left as they are. Raises OSError.
        """
        with ExitStack() as stack:
            is_changed = False
            for path in directories:
                if path == ROOT:
                    continue
                fd = self._root.open_directory(path)
                stack.callback(os.close, fd)
                status = os.fstat(fd)
                mode = stat.S_IMODE(status.st_mode)
                if _is_ours(status) and is_closed(mode):
                    note = self._note(path, status.st_ino, mode)
                    stack.callback(_close_up, fd, mode, note)
                    os.fchmod(fd, mode | stat.S_IRWXU)
                    is_changed = True
            yield is_changed

    @contextmanager
    def placed_open(self, path: RelPath, inode: int, mode: int) -> Iterator[None]:
        """Lend the time to put this new directory at `path`, with its owner's rights, and then give it its `mode`.

        Raises OSError.
        """
        note = self._note(path, inode, mode)
        try:
            yield
            # It was not put there, or went since, or may not even be opened.
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                fd = self._root.open_directory(path)
                try:
                    sync_directory(fd)
                finally:
                    os.close(fd)
        finally:
            note.unlink()

    def _note(self, path: RelPath, inode: int, mode: int) -> Path:
        """Write down, durably, what a directory is to be again."""
        note = self._notes / secrets.token_hex(8)
        with note.open("wb") as file:
            file.write(b"%d %o " % (inode, mode) + path)
            file.flush()
            os.fsync(file.fileno())
        fd = os.open(self._notes, O_LIST)
        try:
            sync_directory(fd)
        finally:
            os.close(fd)
        return note

    def _put_back(self, note: Path) -> None:
        parts = note.read_bytes().split(b" ", 2)
        if len(parts) == 3:  # else it was not written to the end, and the directory not opened
            inode, mode, path = int(parts[0]), int(parts[1], 8), RelPath(parts[2])
            try:
                fd = self._root.open_directory(path)
            except OSError:  # it is gone, or somebody shut it altogether
                note.unlink()
                return
            try:
                status = os.fstat(fd)
                if status.st_ino == inode and stat.S_IMODE(status.st_mode) == mode | stat.S_IRWXU:
                    os.fchmod(fd, mode)
                    sync_directory(fd)
            finally:
                os.close(fd)
        note.unlink()


def is_closed(mode: int) -> bool:
    """Return whether the owner of a directory with these bits may not do everything in it."""
    return mode & stat.S_IRWXU != stat.S_IRWXU


def _close_up(fd: int, mode: int, note: Path) -> None:
    os.fchmod(fd, mode)
    sync_directory(fd)
    note.unlink()


def _is_ours(status: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and status.st_uid == os.geteuid()
