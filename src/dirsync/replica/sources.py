"""Contents on their way out of a near replica: opened, read in order, whole or as what they have of a base.

Owns that a content stays the one that was opened, from chunk to chunk, and that its descriptor is given back. Which
file that is, and which base, is for others to say.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dirsync.core.chunks import SPAN_BYTES_MAX, Manifest, Piece, Span, size_of_piece
from dirsync.core.fingerprint import Fingerprint
from dirsync.disk.chunking import Cutter
from dirsync.disk.root import fingerprint_of
from dirsync.disk.syscalls import give_back
from dirsync.errors import Refusal
from dirsync.limits import CHUNK_BYTES

_STEP_BYTES = 1024 * 1024
"""Of a base, read and written before the next: so it is in the processor's cache."""


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
            self._verify()
        except OSError as error:
            raise Refusal(f"it cannot be read: {error.strerror}") from error
        return chunks

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer, less only at the end, and return how much that was. Raises Refusal as `read`."""
        got = 0
        try:
            while got < len(buffer) and (some := os.preadv(self.fd, [buffer[got:]], offset + got)):
                got += some
            self._verify()
        except OSError as error:
            raise Refusal(f"it cannot be read: {error.strerror}") from error
        return got

    def _verify(self) -> None:
        if self.stat is None:
            return
        after = fingerprint_of(os.fstat(self.fd))
        if (after.size, after.mtime_ns) != (self.stat.size, self.stat.mtime_ns):
            raise Refusal("it changed while it was sent")

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
            return self._opened().read(offset, size)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer as a source does. Raises Refusal."""
        with self._turn:
            return self._opened().read_into(buffer, offset)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._turn:
            self._is_over = True
            if self._source is not None:
                self._source.close()

    def _opened(self) -> Source:
        if self._is_over:
            raise Refusal("this transfer has ended")
        if self._source is None:
            self._source = self._open()
        return self._source


class Spans:
    """Reads ranges of a base through one buffer. Calls block."""

    def __init__(self, base: Supply) -> None:
        self._base = base
        self._buffer = memoryview(bytearray(_STEP_BYTES))

    def read(self, span: Span) -> Iterator[memoryview]:
        """Yield the bytes of a range; each part counts until the next one. Raises Refusal where the base is shorter."""
        end = span.offset + span.size
        for offset in range(span.offset, end, _STEP_BYTES):
            part = self._buffer[: min(_STEP_BYTES, end - offset)]
            if self._base.read_into(part, offset) < len(part):
                raise Refusal("a range was sent that the base does not have")
            yield part

    def close(self) -> None:
        """Give the descriptor of the base back."""
        self._base.close()


class Reading:
    """Reads a content in order from `offset` to `size`. Calls block."""

    def __init__(self, supply: Supply, offset: int, size: int) -> None:
        self._supply = supply
        self._offset = offset
        self._size = size

    def next(self, size: int) -> list[bytes]:
        """Return the next bytes, at most so many, nothing only at the end. Raises Refusal."""
        if self._offset >= self._size:
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
        self._supply = supply
        self._offset = offset
        self._size = size
        self._cutter = Cutter(average, base)
        self._buffer = memoryview(bytearray())
        self._rest = 0
        """So many bytes at the front of the buffer were read and are not cut yet."""
        self._is_over = False
        self.rows = bytearray()

    def next(self, size: int) -> list[Piece]:
        """Return the pieces that follow; an empty list only at the end. Raises Refusal.

        Reads so many bytes at a time, until as many are new, or the longest span is there.
        """
        pieces: list[Piece] = []
        told = new = 0
        while told < SPAN_BYTES_MAX and new < size and not self._is_over:
            for piece in self._step(size):
                told += size_of_piece(piece)
                if isinstance(piece, Span):
                    _append_span(pieces, piece.offset, piece.size)
                else:
                    new += len(piece)
                    pieces.append(piece)
        return pieces

    def _step(self, size: int) -> list[Piece]:
        content = self._filled(min(size, self._size - self._offset))
        self._is_over = self._offset >= self._size
        pieces: list[Piece] = []
        new: list[memoryview] = []
        new_bytes = cut_bytes = 0
        for rows, chunk, place in self._cutter.runs(content, is_end=self._is_over):
            self.rows += rows
            cut_bytes += len(chunk)
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
        self._rest = len(content) - cut_bytes
        self._buffer[: self._rest] = content[cut_bytes:]
        return pieces

    def _filled(self, size: int) -> memoryview:
        """Return what was not cut yet, and so many bytes behind it."""
        end = self._rest + size
        if end > len(self._buffer):
            larger = memoryview(bytearray(end + end // 4))
            larger[: self._rest] = self._buffer[: self._rest]
            self._buffer = larger
        got = self._supply.read_into(self._buffer[self._rest : end], self._offset)
        if got < size:
            raise Refusal("it is shorter than it was")
        self._offset += got
        return self._buffer[:end]


def _append_span(pieces: list[Piece], offset: int, size: int) -> None:
    last = pieces[-1] if pieces else None
    if isinstance(last, Span) and last.offset + last.size == offset and last.size + size <= SPAN_BYTES_MAX:
        pieces[-1] = Span(last.offset, last.size + size)
        return
    starts = range(offset, offset + size, SPAN_BYTES_MAX)
    pieces.extend(Span(start, min(SPAN_BYTES_MAX, offset + size - start)) for start in starts)
