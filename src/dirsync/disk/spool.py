"""Files that hold the content of held updates, one each, durable before anybody is told.

A spool file is named by chance; the journal's rows say which belong to which update. What no row names is a
leftover of a crash between file and row, and nobody was told about it.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from blake3 import blake3

from dirsync.core.entry import Digest
from dirsync.errors import DiskError
from dirsync.limits import CHUNK_BYTES


class SpoolFile:
    """A spool file being written. Not thread-safe; each call blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = blake3()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    @property
    def name(self) -> str:
        """The name under which the content will be found."""
        return self._path.name

    def write(self, data: bytes) -> None:
        """Append. Raises DiskError."""
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise DiskError(f"the spool cannot be written: {error.strerror}") from error

    def finish(self, digest: Digest) -> bool:
        """Make the content durable and return True; or, where it is not what was announced, remove it."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            self.abandon()
            raise DiskError(f"the spool cannot be written: {error.strerror}") from error
        os.close(self._fd)
        self._fd = -1
        if self._hash.digest() != digest:
            self._path.unlink()
            return False
        _sync_directory(self._path.parent)
        return True

    def abandon(self) -> None:
        """Remove what was written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)


class Spool:
    """The directory of spool files. Each call blocks."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def create(self) -> SpoolFile:
        """Open a new spool file. Raises DiskError."""
        try:
            return SpoolFile(self._directory / secrets.token_hex(16))
        except OSError as error:
            raise DiskError(f"the spool cannot be written: {error.strerror}") from error

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content in chunks. Raises DiskError."""
        try:
            with (self._directory / name).open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise DiskError(f"the spool cannot be read: {error.strerror}") from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files; those that are gone already are no concern."""
        for name in names:
            (self._directory / name).unlink(missing_ok=True)

    def sweep(self, named: frozenset[str]) -> None:
        """Remove what no row names."""
        self.remove(path.name for path in self._directory.iterdir() if path.name not in named)


def _sync_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
