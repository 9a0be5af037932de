"""A copy of a content in the state directory, durable or not there at all."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dirsync.disk.durability import sync_directory
from dirsync.disk.reading import SparseWriter
from dirsync.disk.reasons import reason_of
from dirsync.disk.syscalls import O_BINARY
from dirsync.errors import DiskError


class CopyFile(SparseWriter):
    """A new file, mode 0600, that is removed again at the end of its block unless it was kept.

    Its own errors are DiskError, so that they are told from those of the file that is read.
    """

    __slots__ = ("_is_kept", "_open_fd", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_kept = False
        try:
            self._open_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, 0o600)
        except OSError as error:
            raise _mapped(error) from error
        super().__init__(self._open_fd)

    def __enter__(self) -> "CopyFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what close would report, fsync has reported
            os.close(self._open_fd)
        if not self._is_kept:
            self._path.unlink()

    def write(self, content: bytes | memoryview) -> None:
        """Append. Raises DiskError."""
        try:
            super().write(content)
        except OSError as error:
            raise _mapped(error) from error

    def keep(self) -> None:
        """Make it complete and durable. Raises DiskError."""
        try:
            self.finish()
            os.fsync(self._open_fd)
            holder = os.open(self._path.parent, os.O_RDONLY)
            try:
                sync_directory(holder)
            finally:
                os.close(holder)
        except OSError as error:
            raise _mapped(error) from error
        self._is_kept = True


def _mapped(error: OSError) -> DiskError:
    return DiskError(f"a copy cannot be kept: {reason_of(error)}")
