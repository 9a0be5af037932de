"""A content on its way in: written as it arrives, hashed on the way, resumed after an interruption."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from blake3 import blake3

from dirsync.core.entry import Digest
from dirsync.disk.reading import READ_BYTES, SparseWriter
from dirsync.disk.reasons import reason_of
from dirsync.disk.syscalls import O_BINARY, begin_writing_out
from dirsync.errors import DiskError

_WRITE_OUT_BYTES = 8 * 1024 * 1024
"""In such steps what is written begins its way to the disk; else a sync at the end, or any other, waits for it all."""


def received_name(digest: Digest, *, is_partial: bool = False) -> bytes:
    """Return the name in the staging area of a content that belongs to no path yet."""
    return digest.hex().encode() + (b".part" if is_partial else b"")


@dataclass(frozen=True, slots=True)
class _Part:
    """The open partial file."""

    directory: int
    fd: int
    hasher: blake3
    sink: SparseWriter


class Receiving:
    """One transfer, opened by the first call. Ends with `finish` or `abandon`; every method raises DiskError.

    `begin` is called first and returns the directory, or raises DiskError; after it, `end` is called once. A call
    waits for the one before it, in whatever threads they run: whoever loses interest in a write that is under way may
    abandon the transfer at once, and the descriptor is given back only when nothing uses it any more.
    """

    def __init__(
        self, digest: Digest, size: int, offset: int, begin: Callable[[], int], end: Callable[[], None]
    ) -> None:
        self._digest = digest
        self._size = size
        self._offset = offset
        self._begin = begin
        self._end = end
        self._whole_name, self._part_name = received_name(digest), received_name(digest, is_partial=True)
        self._turn = threading.Lock()
        self._part: _Part | None = None
        self._is_over = False
        self._has_failed = False
        self._begun = offset

    def write(self, content: bytes | memoryview) -> None:
        """Append. Raises DiskError also where it is more than was announced; then `abandon` it."""
        with self._opened() as part:
            if part.sink.offset + len(content) > self._size:
                raise DiskError("more content arrived than was announced")
            self._has_failed = True
            part.sink.write(content)
            self._has_failed = False
            part.hasher.update(content)
            if (waiting := part.sink.offset - self._begun) >= _WRITE_OUT_BYTES:
                begin_writing_out(part.fd, self._begun, waiting)
                self._begun += waiting

    def finish(self) -> bool:
        """Make it durable and return True, if it is the announced content; else remove it and return False.

        Where it cannot be made durable, what is there is not trusted and removed too.
        """
        with self._opened() as part:
            is_right = part.sink.offset == self._size and part.hasher.digest() == self._digest
            is_done = False
            try:
                if is_right:
                    part.sink.finish()
                    os.fsync(part.fd)
                    _rename(part.directory, self._part_name, self._whole_name)
                    is_done = True
            finally:
                if not is_done:
                    with suppress(FileNotFoundError):
                        os.unlink(self._part_name, dir_fd=part.directory)
                self._close(part)
            return is_right

    def abandon(self) -> None:
        """Stop, and keep what is there so that it can be resumed; nothing where the transfer has ended.

        What the disk did not take to the end goes: others may need the room.
        """
        with self._turn:
            part, self._is_over = self._part, True
            if part is None:
                return
            try:
                try:
                    if self._has_failed:
                        os.unlink(self._part_name, dir_fd=part.directory)
                    else:
                        part.sink.finish()
                finally:
                    self._close(part)
            except OSError as error:
                raise DiskError(reason_of(error)) from error

    @contextmanager
    def _opened(self) -> Iterator[_Part]:
        with self._turn:
            if self._is_over:
                raise DiskError("this transfer has ended")
            try:
                if self._part is None:
                    self._part = self._open()
                yield self._part
            except OSError as error:
                raise DiskError(reason_of(error)) from error

    def _open(self) -> _Part:
        """Open the partial file and read again what is there."""
        directory = self._begin()
        try:
            with suppress(FileNotFoundError):
                _rename(directory, self._whole_name, self._part_name)
            fd = os.open(self._part_name, os.O_RDWR | os.O_CREAT | O_BINARY, 0o600, dir_fd=directory)
            try:
                return _Part(directory, fd, self._resumed(fd), SparseWriter(fd, self._offset))
            except OSError:
                os.close(fd)
                # What cannot be read again now may never be: the next try begins anew.
                os.unlink(self._part_name, dir_fd=directory)
                raise
        except OSError:
            self._end()
            raise

    def _resumed(self, fd: int) -> blake3:
        hasher = blake3()
        at = 0
        while at < self._offset:
            chunk = os.pread(fd, min(READ_BYTES, self._offset - at), at)
            if not chunk:
                raise OSError(f"only {at} bytes are here to go on from, not {self._offset}")
            hasher.update(chunk)
            at += len(chunk)
        return hasher

    def _close(self, part: _Part) -> None:
        self._part, self._is_over = None, True
        try:
            os.close(part.fd)
        finally:
            self._end()


def _rename(directory: int, old: bytes, new: bytes) -> None:
    os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
