"""Reading and writing whole contents: hashed on the way, sparse where they are all zero, every byte or an error.

Knows descriptors only; which file that is, and whether it may change meanwhile, is the caller's business.
"""

import errno
import os
from typing import NamedTuple

from blake3 import blake3

from dirsync.core.entry import Digest

READ_BYTES = 1024 * 1024
"""One read: large enough that the system call costs nothing, small enough to stay in the cache while hashed."""
_BLOCK_BYTES = 64 * 1024
_ZEROS = bytes(_BLOCK_BYTES)


def digest_of(content: bytes) -> Digest:
    """Return the digest of a content that is at hand."""
    return Digest(blake3(content).digest())


class SparseWriter:
    """Writes a content to an empty file, or goes on at an offset; blocks that are all zero become holes.

    What lies beyond the offset is dropped. Raises OSError.
    """

    __slots__ = ("_end", "_fd", "offset")

    def __init__(self, fd: int, offset: int | None = None) -> None:
        self._end = 0 if offset is None else os.fstat(fd).st_size
        self._fd = fd
        self.offset = offset or 0
        if self._end > self.offset:
            os.ftruncate(fd, self.offset)
            self._end = self.offset

    def write(self, content: bytes | memoryview) -> None:
        """Append every byte of `content`."""
        start = 0
        for at in range(0, len(content), _BLOCK_BYTES):
            size = min(_BLOCK_BYTES, len(content) - at)
            if size == _BLOCK_BYTES and content[at] == 0 and bytes(content[at : at + size]) == _ZEROS:
                self._write_out(content, start, at)
                start = at + size
        self._write_out(content, start, len(content))
        self.offset += len(content)

    def finish(self) -> None:
        """Give the file its size, where a hole at the end did not.

        Never truncates without need: ext4 takes that for a careless replacement and writes the file out on close.
        """
        if self._end != self.offset:
            os.ftruncate(self._fd, self.offset)

    def _write_out(self, content: bytes | memoryview, start: int, end: int) -> None:
        view = memoryview(content)[start:end]
        at = self.offset + start
        while view:
            written = os.pwrite(self._fd, view, at)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = view[written:]
            at += written
            self._end = at


class Reading(NamedTuple):
    """What a descriptor gave. `content` only where it was wanted and is short enough."""

    digest: Digest
    size: int
    content: bytes | None


def read_whole(fd: int, expected_size: int, content_bytes_max: int = -1, sink: SparseWriter | None = None) -> Reading:
    """Read at most `expected_size` bytes from the start, hash them, and write them to `sink`.

    The content is returned where `expected_size` is at most `content_bytes_max`. Raises OSError of either file.
    """
    if expected_size <= READ_BYTES:
        content = _read_full(fd, expected_size, 0)
        if sink is not None:
            sink.write(content)
        is_wanted = expected_size <= content_bytes_max
        return Reading(digest_of(content), len(content), content if is_wanted else None)
    hasher = blake3()
    size = 0
    while size < expected_size:
        chunk = _read_full(fd, min(READ_BYTES, expected_size - size), size)
        if not chunk:
            break
        hasher.update(chunk)
        if sink is not None:
            sink.write(chunk)
        size += len(chunk)
    return Reading(Digest(hasher.digest()), size, None)


def _read_full(fd: int, size: int, offset: int) -> bytes:
    """Return `size` bytes, fewer only at the end of the file."""
    content = os.pread(fd, size, offset)
    if len(content) in (size, 0):
        return content
    parts = [content]
    got = len(content)
    while got < size:
        part = os.pread(fd, size - got, offset + got)
        if not part:
            break
        parts.append(part)
        got += len(part)
    return b"".join(parts)
