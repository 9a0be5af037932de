"""Where contents are cut into chunks: at places that their bytes name, so that an insertion moves the others along.

FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking", 2020), as `pyfastcdc` does it.
"""

from collections.abc import Iterator, Sequence

from blake3 import blake3
from pyfastcdc import FastCDC

from dirsync.core.chunks import DIGEST_BYTES, row_of


class Cutter:
    """Cuts one content, given in order. `feed` yields what is cut by then; the end of it comes with `finish`."""

    def __init__(self, average: int) -> None:
        self._cut = FastCDC(avg_size=average).cut_buf
        self._rest = b""

    def feed(self, parts: Sequence[bytes]) -> Iterator[tuple[bytes, memoryview]]:
        """Yield the row and the bytes of each chunk whose end is certain; the last one of what was given is not."""
        return self._chunks(b"".join([self._rest, *parts]), is_end=False)

    def finish(self) -> Iterator[tuple[bytes, memoryview]]:
        """Yield the rest."""
        return self._chunks(self._rest, is_end=True)

    def _chunks(self, content: bytes, *, is_end: bool) -> Iterator[tuple[bytes, memoryview]]:
        lengths = [chunk.length for chunk in self._cut(content)] if content else []
        if lengths and not is_end:
            lengths.pop()
        at = sum(lengths)
        self._rest = content[at:]
        view = memoryview(content)
        at = 0
        for length in lengths:
            chunk = view[at : at + length]
            yield row_of(length, blake3(chunk).digest(length=DIGEST_BYTES)), chunk
            at += length
