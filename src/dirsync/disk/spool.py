"""Files that hold the content of held updates, one each, durable before anybody is told.

A spool file is named by chance; the journal's rows say which belong to which update. What no row names is a
leftover of a crash between file and row, and nobody was told about it.
"""

import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from dirsync.core.entry import Digest
from dirsync.disk.reasons import reason_of
from dirsync.errors import DiskError
from dirsync.limits import CHUNK_BYTES


class SpoolFile:
    """A spool file being written. Each call blocks, and waits for the one before: a caller may have given up on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = blake3()
        self._turn = threading.Lock()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    @property
    def name(self) -> str:
        """The name under which the content will be found."""
        return self._path.name

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises DiskError."""
        with self._turn, _errors_mapped("written"):
            self._hash.update(data)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def finish(self, digest: Digest) -> bool:
        """Make the content durable and return True; or, where it is not what was announced, remove it.

        Raises DiskError.
        """
        if self._hash.digest() != digest:
            self.abandon()
            return False
        with self._turn:
            with _errors_mapped("written"):
                os.fsync(self._fd)
                _sync_directory(self._path.parent)
            self._close()
        return True

    def abandon(self) -> None:
        """Remove what was written, unless it was finished."""
        with self._turn:
            if self._fd >= 0:
                self._close()
                _discard(self._path)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        with suppress(OSError):  # what close would report, fsync has reported, or it goes anyway
            os.close(fd)


class Spool:
    """The directory of spool files. Each call blocks."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if it is missing. Raises DiskError."""
        with _errors_mapped("made"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def create(self) -> SpoolFile:
        """Open a new spool file. Raises DiskError."""
        with _errors_mapped("written"):
            return SpoolFile(self._directory / secrets.token_hex(16))

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content in chunks. Raises DiskError."""
        with _errors_mapped("read"), (self._directory / name).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files; those that are gone already are no concern."""
        for name in names:
            _discard(self._directory / name)

    def sweep(self, named: frozenset[str]) -> None:
        """Remove what no row names. Raises DiskError."""
        with _errors_mapped("listed"):
            names = os.listdir(self._directory)
        self.remove(name for name in names if name not in named)


def _discard(path: Path) -> None:
    with suppress(OSError):  # the next start removes what no row names
        path.unlink()


@contextmanager
def _errors_mapped(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"the spool cannot be {what}: {reason_of(error)}") from error


def _sync_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
