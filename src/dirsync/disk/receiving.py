"""A content on its way in: written as it arrives, hashed on the way, resumed after an interruption."""

import os
from collections.abc import Callable
from contextlib import suppress

from blake3 import blake3

from dirsync.core.entry import Digest
from dirsync.disk.reading import READ_BYTES, SparseWriter
from dirsync.disk.reasons import reason_of
from dirsync.disk.syscalls import O_BINARY
from dirsync.errors import DiskError


def received_name(digest: Digest, *, is_partial: bool = False) -> bytes:
    """Return the name in the staging area of a content that belongs to no path yet."""
    return digest.hex().encode() + (b".part" if is_partial else b"")


class Receiving:
    """One transfer. Ends with `finish` or `abandon`, exactly one of them. Not for several threads at a time."""

    def __init__(
        self, directory: int, digest: Digest, size: int, offset: int, on_end: Callable[[Digest], None]
    ) -> None:
        """Open the partial file and read again what is there. Raises OSError."""
        self._directory = directory
        self._digest = digest
        self._size = size
        self._on_end = on_end
        self._part = received_name(digest, is_partial=True)
        whole = received_name(digest)
        with suppress(FileNotFoundError):
            os.rename(whole, self._part, src_dir_fd=directory, dst_dir_fd=directory)
        self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | O_BINARY, 0o600, dir_fd=directory)
        try:
            self._hasher = self._resumed(offset)
            self._sink = SparseWriter(self._fd, offset)
        except OSError:
            os.close(self._fd)
            raise

    def write(self, content: bytes) -> None:
        """Append. Raises DiskError, also where it is more than was announced; then `abandon` it."""
        if self._sink.offset + len(content) > self._size:
            raise DiskError("more content arrived than was announced")
        try:
            self._sink.write(content)
        except OSError as error:
            raise DiskError(reason_of(error)) from error
        self._hasher.update(content)

    def finish(self) -> bool:
        """Make it durable and return True, if it is the announced content; else remove it and return False.

        Raises DiskError; what is there is then not trusted and removed too.
        """
        is_right = self._sink.offset == self._size and self._hasher.digest() == self._digest
        is_done = False
        try:
            if is_right:
                self._sink.finish()
                os.fsync(self._fd)
                whole = received_name(self._digest)
                os.rename(self._part, whole, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                is_done = True
        except OSError as error:
            raise DiskError(reason_of(error)) from error
        finally:
            if not is_done:
                with suppress(FileNotFoundError):
                    os.unlink(self._part, dir_fd=self._directory)
            self._close()
        return is_right

    def abandon(self) -> None:
        """Stop, and keep what is there so that it can be resumed. Raises DiskError."""
        try:
            self._sink.finish()
        except OSError as error:
            raise DiskError(reason_of(error)) from error
        finally:
            self._close()

    def _resumed(self, offset: int) -> blake3:
        hasher = blake3()
        at = 0
        while at < offset:
            chunk = os.pread(self._fd, min(READ_BYTES, offset - at), at)
            if not chunk:
                raise OSError(f"only {at} bytes are here to go on from, not {offset}")
            hasher.update(chunk)
            at += len(chunk)
        return hasher

    def _close(self) -> None:
        os.close(self._fd)
        self._on_end(self._digest)
