"""Contents on their way out of a near replica: opened, read in order, whole or as what they have of a base.

Owns that a content stays the one that was opened, from chunk to chunk, and that its descriptor is given back. Which
file that is, and which base, is for others to say.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dirsync.core.chunks import SPAN_BYTES_MAX, Manifest, Piece, Span
from dirsync.core.fingerprint import Fingerprint
from dirsync.disk.chunking import Cutter, Run
from dirsync.disk.root import fingerprint_of
from dirsync.disk.syscalls import give_back
from dirsync.errors import Refusal
from dirsync.limits import CHUNK_BYTES


@dataclass(slots=True)
class Source:
    """An open content and the stat it must keep. One that only grows is sent as long as it was: no stat to keep."""

    fd: int
    stat: Fingerprint | None

    def read(self, offset: int, size: int) -> list[bytes]:
        """Return chunks from `offset`, none at the end. Raises Refusal where it is not that content any more."""
        try:
            chunks = []
            while size > 0 and (chunk := os.pread(self.fd, min(size, CHUNK_BYTES), offset)):
                chunks.append(chunk)
                offset += len(chunk)
                size -= len(chunk)
            after = fingerprint_of(os.fstat(self.fd))
        except OSError as error:
            raise Refusal(f"it cannot be read: {error.strerror}") from error
        if self.stat is not None and (after.size, after.mtime_ns) != (self.stat.size, self.stat.mtime_ns):
            raise Refusal("it changed while it was sent")
        return chunks

    def close(self) -> None:
        """Give the descriptor back."""
        give_back(self.fd)


class Supply:
    """A content on its way out, opened by the first read. A call waits for the one before it, in whatever threads.

    So a descriptor is given back also where nobody waits any more for the read that opens it, and never under a read.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._turn = threading.Lock()
        self._source: Source | None = None
        self._is_over = False

    def read(self, offset: int, size: int) -> list[bytes]:
        """Return chunks as a source does. Raises Refusal."""
        with self._turn:
            if self._is_over:
                raise Refusal("this transfer has ended")
            if self._source is None:
                self._source = self._open()
            return self._source.read(offset, size)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._turn:
            self._is_over = True
            if self._source is not None:
                self._source.close()


class Reading:
    """Reads a content in order from `offset` to `size`. Calls block."""

    def __init__(self, supply: Supply, offset: int, size: int) -> None:
        self._supply = supply
        self._offset = offset
        self._size = size

    @property
    def is_over(self) -> bool:
        """Whether everything was read."""
        return self._offset >= self._size

    def next(self, size: int) -> list[bytes]:
        """Return the next bytes, at most so many, nothing only at the end. Raises Refusal."""
        if self.is_over:
            return []
        chunks = self._supply.read(self._offset, min(size, self._size - self._offset))
        if not chunks:
            raise Refusal("it is shorter than it was")
        self._offset += sum(map(len, chunks))
        return chunks


class Comparison:
    """Cuts a content, read in order from `offset` to `size`, and says what a base has of it. Calls block.

    Without a base it only learns the chunks. `rows` holds those that were cut so far.
    """

    def __init__(self, supply: Supply, offset: int, size: int, average: int, base: Manifest | None = None) -> None:
        self._reading = Reading(supply, offset, size)
        self._cutter = Cutter(average, base)
        self._is_over = False
        self.rows = bytearray()

    def next(self, size: int) -> list[Piece]:
        """Read so many bytes and return the pieces that follow; an empty list only at the end. Raises Refusal."""
        pieces: list[Piece] = []
        while not pieces and not self._is_over:
            pieces = self._compared(self._cutter.feed(self._reading.next(size)))
            self._is_over = self._reading.is_over
            if self._is_over:
                pieces += self._compared(self._cutter.finish())
        return pieces

    def _compared(self, runs: Iterator[Run]) -> list[Piece]:
        pieces: list[Piece] = []
        new: list[memoryview] = []
        new_bytes = 0
        for rows, chunk, place in runs:
            self.rows += rows
            if new and (place is not None or new_bytes + len(chunk) > CHUNK_BYTES):
                pieces.append(b"".join(new))
                new, new_bytes = [], 0
            if place is None:
                new.append(chunk)
                new_bytes += len(chunk)
            else:
                _append_span(pieces, place, len(chunk))
        if new:
            pieces.append(b"".join(new))
        return pieces


def _append_span(pieces: list[Piece], offset: int, size: int) -> None:
    last = pieces[-1] if pieces else None
    if isinstance(last, Span) and last.offset + last.size == offset and last.size + size <= SPAN_BYTES_MAX:
        pieces[-1] = Span(last.offset, last.size + size)
        return
    starts = range(offset, offset + size, SPAN_BYTES_MAX)
    pieces.extend(Span(start, min(SPAN_BYTES_MAX, offset + size - start)) for start in starts)
