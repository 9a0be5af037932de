"""Where replaced and deleted content is kept: files in the state directory, each under a name of its own.

Knows nothing of ids, reasons of retention or databases: which file belongs to which version is recorded elsewhere,
and what no record names is offered again by `orphans`.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from dirsync.core.entry import PERMISSION_BITS, Digest, Entry, File, Symlink
from dirsync.core.paths import RelPath, join
from dirsync.core.versions import Why
from dirsync.disk.durability import sync_directory
from dirsync.disk.probe import O_READ, lstat_at
from dirsync.disk.reading import SparseWriter, read_whole
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import fingerprint_of
from dirsync.disk.syscalls import O_BINARY, O_LIST, O_NOFOLLOW, clone, give_back, is_open_for_writing, rename_noreplace
from dirsync.errors import DiskError

PATH_HASH_CHARS = 32
_UNFINISHED = b"new-"
"""Begins the name of a copy that is being made: after a crash it is dropped, its original is still there."""


def path_hash(path: RelPath) -> bytes:
    """Return what stands for a path in a file name of the state directory: 16 bytes of its BLAKE3, in hex."""
    return blake3(path).digest(16).hex().encode()


@dataclass(frozen=True, slots=True)
class Kept:
    """A content that was set aside: its file in the versions directory, what it is, where it stood, and why."""

    file: str
    entry: Entry
    path: RelPath
    why: Why


class KeptArea:
    """The versions directory. Usable from several threads."""

    def __init__(self, state: Path) -> None:
        """Open, and make if needed, `state/versions`. Raises DiskError."""
        self._path = state / "versions"
        with _mapped("the kept versions cannot be reached"):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDONLY)
        self._moved: set[str] = set()  # files that others wrote, and perhaps never synced

    def open(self, file: str) -> int:
        """Return a descriptor to read a kept file from. Raises DiskError where it is not there."""
        with _mapped("the kept version cannot be read"):
            return os.open(os.fsencode(file), O_READ, dir_fd=self._fd)

    def remove(self, file: str) -> None:
        """Drop a kept file; one that is gone already is fine. Raises DiskError."""
        with _mapped("the kept version cannot be removed"):
            try:
                os.unlink(os.fsencode(file), dir_fd=self._fd)
            except FileNotFoundError:
                pass

    def kept_ns(self, file: str) -> int:
        """Return when a file was set aside, in nanoseconds since 1970: its name says so, if it was made here."""
        parts = file.split("-")
        return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else time.time_ns()

    def files(self) -> set[str]:
        """Return the names of all kept files. Raises DiskError."""
        with _mapped("the kept versions cannot be listed"):
            return set(os.listdir(self._fd))

    def keep(
        self, directory: int, name: bytes, path: RelPath, entry: Entry, kept: list[Kept], why: Why = Why.REPLACED
    ) -> Kept:
        """Move what stands at `name` here; append it to `kept`, as what it really was, and return it.

        Copied instead where it has further hard links (they would go on changing it) or lies on another file
        system; the name is gone afterwards. Durable after `sync`. Raises OSError, and then nothing was moved; a copy
        or a second name that could not be removed either is in `kept`.
        """
        target = self._new_name(path)
        new = Kept(os.fsdecode(target), entry, path, why)
        try:
            is_moved = self._try_move(directory, name, target)
        except OSError:
            with suppress(OSError):  # a second name, where the disk failed twice: a file of its own from now on
                kept.append(replace(new, entry=self._copied(self._fd, target, target, entry)))
            raise
        if is_moved:
            kept.append(new)
            return new
        new = replace(new, entry=self._copied(directory, name, target, entry))
        kept.append(new)
        try:
            self.sync([])  # the original may go durably before anything else is synced
            os.unlink(name, dir_fd=directory)
        except OSError:
            with suppress(OSError):  # it stays, and is listed as long as it does
                os.unlink(new.file, dir_fd=self._fd)
                kept.pop()
            raise
        return new

    def keep_all(self, directory: int, name: bytes, path: RelPath, kept: list[Kept]) -> None:
        """Move whatever stands at `name` here, what is in a directory each under its own path; append it to `kept`.

        What has no content (a FIFO, a socket) is removed. Raises OSError; what was moved before is in `kept`.
        """
        status = lstat_at(directory, name)
        if stat.S_ISDIR(status.st_mode):
            fd = os.open(name, O_LIST | O_NOFOLLOW, dir_fd=directory)
            try:
                for child in os.listdir(fd):
                    self.keep_all(fd, os.fsencode(child), join(path, os.fsencode(child)), kept)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=directory)
        elif is_file_or_link(status):
            self.keep(directory, name, path, entry_at(directory, name), kept)
        else:
            os.unlink(name, dir_fd=directory)

    def is_being_written(self, file: str) -> bool:
        """Return whether a program that had it open when it was moved here has not closed it; as far as is known.

        Once it is not, nobody opens it again to write. Raises OSError.
        """
        name = os.fsencode(file)
        if not stat.S_ISREG(lstat_at(self._fd, name).st_mode):
            return False
        fd = os.open(name, O_READ, dir_fd=self._fd)
        try:
            return bool(is_open_for_writing(fd))
        finally:
            os.close(fd)

    def second_look(self, file: str, entry: Entry) -> Entry:
        """Return what the kept file is now: a program that still had it open may have gone on writing.

        Raises OSError.
        """
        if not isinstance(entry, File):
            return entry
        status = lstat_at(self._fd, os.fsencode(file))
        if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns):
            return entry
        return self.as_it_is(file, entry)

    def as_it_is(self, file: str, entry: Entry) -> Entry:
        """Return what the kept file is now by its content: somebody may have put its time back.

        Another content than before is durable, so that it may be recorded. Raises OSError.
        """
        if not isinstance(entry, File):
            return entry
        name = os.fsencode(file)
        found = entry_at(self._fd, name)
        assert isinstance(found, File)
        if found.digest == entry.digest:
            # Where times are stored more coarsely, or in the copy of a link, the same content has another one.
            return entry
        self._sync_content(name)
        return found

    def orphans(self, recorded: set[str], path_of: Callable[[bytes], RelPath | None]) -> list[Kept]:
        """Return what was kept here but never recorded, because of a crash in between, durable; unfinished copies go.

        `path_of` maps a path hash back; a file whose path it does not know, or that is unreadable, is left alone.
        Raises DiskError.
        """
        result = []
        for file in sorted(self.files() - recorded):
            name = os.fsencode(file)
            if name.startswith(_UNFINISHED):
                self.remove(file)
                continue
            path = path_of(name[:PATH_HASH_CHARS])
            if path is None:
                continue
            try:
                entry = entry_at(self._fd, name)
                if isinstance(entry, File):
                    self._sync_content(name)
                result.append(Kept(file, entry, path, Why.REPLACED))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DiskError(f"the kept version {file} cannot be read: {reason_of(error)}") from error
        return result

    def sync(self, kept: Iterable[Kept], *, is_content_durable: bool = False) -> None:
        """Make these durable, and the names of all. Raises OSError.

        `is_content_durable`: the file system from which they were moved has been synced since; it is the one of this
        area. A content whose sync failed keeps neither the others nor the names from becoming durable.
        """
        first: OSError | None = None
        for file in [each.file for each in kept if each.file in self._moved]:
            self._moved.discard(file)
            if is_content_durable:
                continue
            try:
                self._sync_content(os.fsencode(file))
            except OSError as error:
                first = first or error
        sync_directory(self._fd)
        if first is not None:
            raise first

    def close(self) -> None:
        """Give the descriptor back."""
        give_back(self._fd)

    def _sync_content(self, name: bytes) -> None:
        try:
            fd = os.open(name, O_READ, dir_fd=self._fd)
        except (FileNotFoundError, PermissionError):
            return  # it was removed again, or it was never ours to read: its owner's own sync is all there is
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @staticmethod
    def _new_name(path: RelPath) -> bytes:
        return b"%s-%d-%s" % (path_hash(path), time.time_ns(), secrets.token_hex(4).encode())

    def _try_move(self, directory: int, name: bytes, target: bytes) -> bool:
        """Move it here if it need not be copied; return whether it was. Raises OSError."""
        status = lstat_at(directory, name)
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and status.st_nlink > 1:
            return False
        try:
            rename_noreplace(directory, name, self._fd, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        if is_file:
            self._moved.add(os.fsdecode(target))
        return True

    def _copied(self, directory: int, name: bytes, target: bytes, entry: Entry) -> Entry:
        """Copy it, a content durably; return what was copied."""
        unfinished = _UNFINISHED + target
        copied = entry
        if isinstance(entry, Symlink):
            os.symlink(os.readlink(name, dir_fd=directory), unfinished, dir_fd=self._fd)
        else:
            source = os.open(name, O_READ, dir_fd=directory)
            try:
                digest, size = self._copy_at_rest(source, unfinished)
            finally:
                os.close(source)
            if isinstance(entry, File) and digest != entry.digest:
                copied = entry._replace(digest=digest, size=size)
        try:
            os.rename(unfinished, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            os.unlink(unfinished, dir_fd=self._fd)
            raise
        return copied

    def _copy_at_rest(self, source: int, target: bytes) -> tuple[Digest, int]:
        """Copy a file that is about to lose its name; nobody must be left who could write to it afterwards unseen.

        Who opened it before may; its other names, if it has any, keep what they write. Asked before, too: what is
        written within one tick of the clock, by whoever had begun then and has closed it since, no stat tells.
        """
        if _has_writer(source):
            raise OSError("some program has it open for writing")
        before = fingerprint_of(os.fstat(source))
        copied = copy_content(source, self._fd, target, is_durable=True)
        has_writer = _has_writer(source)
        if has_writer or fingerprint_of(os.fstat(source)) != before:
            os.unlink(target, dir_fd=self._fd)
            raise OSError("some program has it open for writing" if has_writer else "it is being changed")
        return copied


def _has_writer(source: int) -> bool:
    """Return whether somebody can go on writing to a file that has no other name than the one it is about to lose."""
    return os.fstat(source).st_nlink == 1 and bool(is_open_for_writing(source))


def copy_content(source: int, directory: int, name: bytes, *, is_durable: bool) -> tuple[Digest, int]:
    """Copy a whole file to a new one, sharing blocks where the file system can; return what was written.

    The copy has mode 0600 and the source's time, and is removed again on an error. Raises OSError.
    """
    status = os.fstat(source)
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | O_BINARY, 0o600, dir_fd=directory)
    try:
        if clone(source, fd):
            reading = read_whole(fd, os.fstat(fd).st_size)
        else:
            sink = SparseWriter(fd)
            reading = read_whole(source, status.st_size, sink=sink)
            sink.finish()
        os.utime(fd, ns=(status.st_mtime_ns, status.st_mtime_ns))
        if is_durable:
            os.fsync(fd)
    except OSError:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(fd)
    return reading.digest, reading.size


def is_file_or_link(status: os.stat_result) -> bool:
    """Return whether this can be kept."""
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def entry_at(directory: int, name: bytes) -> File | Symlink:
    """Read a file or link that nobody else is to write to. Raises OSError."""
    status = lstat_at(directory, name)
    if stat.S_ISLNK(status.st_mode):
        return Symlink(os.readlink(name, dir_fd=directory), status.st_mtime_ns)
    fd = os.open(name, O_READ, dir_fd=directory)
    try:
        reading = read_whole(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    return File(reading.digest, reading.size, status.st_mtime_ns, status.st_mode & PERMISSION_BITS)


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{what}: {reason_of(error)}") from error
