"""Large contents as sequences of chunks, so that a small edit costs the edit and not the file.

A manifest says which chunks a content has, in order; a content can then be told as pieces: ranges of a base that the
receiver has, and bytes that it has not. Chunk digests only find what may be equal: the digest of the whole content,
verified by the receiver, decides. Where chunks are cut is the business of `disk.chunking`.
"""

from dataclasses import dataclass
from itertools import accumulate

from dirsync.errors import Refusal

DELTA_BYTES_MIN = 256 * 1024
"""Smaller contents are sent whole: finding what differs would cost as much."""
CHUNKS_MAX = 128 * 1024
"""Of one manifest, 2.5 MiB; larger contents have larger chunks."""
SPAN_BYTES_MAX = 4 * 1024 * 1024
"""Of one span: the receiver writes one while the sender looks for the next."""
AVERAGE_MIN, AVERAGE_MAX = 8 * 1024, 16 * 1024 * 1024
_AVERAGES = ((512 * 1024 * 1024, AVERAGE_MIN), (1024 * 1024 * 1024, 16 * 1024))
_LARGE_AVERAGE = 64 * 1024
_LENGTH_BYTES, DIGEST_BYTES = 4, 16
_ROW_BYTES = _LENGTH_BYTES + DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the base. It stands for the same bytes of the content."""

    offset: int
    size: int


ContentBytes = bytes | memoryview
"""Bytes of a content; a view where they lie in what they arrived in."""
Piece = ContentBytes | Span
"""The next bytes of a content: themselves, or where the base has them."""


def size_of_piece(piece: Piece) -> int:
    """Return how many bytes of the content it stands for."""
    return piece.size if isinstance(piece, Span) else len(piece)


def average_of(size: int) -> int:
    """Return how large the chunks of a content of this size are on average: small ones find more, and cost more."""
    average = next((average for limit, average in _AVERAGES if size < limit), _LARGE_AVERAGE)
    # Half of what a manifest holds, because the average is not kept to exactly.
    while average < AVERAGE_MAX and size // average > CHUNKS_MAX // 2:
        average *= 2
    return average


def row_of(length: int, digest: bytes) -> bytes:
    """Return a chunk as a manifest holds it."""
    return length.to_bytes(_LENGTH_BYTES, "big") + digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """The chunks of a content: `rows` one after the other, cut to be `average` long. Made by `of`, which checks."""

    average: int
    rows: bytes

    @classmethod
    def of(cls, average: int, rows: bytes) -> "Manifest":
        """Return the manifest. Raises Refusal for one that cannot be: it may come from anybody."""
        is_average = AVERAGE_MIN <= average <= AVERAGE_MAX and average & (average - 1) == 0
        if not is_average or len(rows) % _ROW_BYTES or not 0 < len(rows) <= CHUNKS_MAX * _ROW_BYTES:
            raise Refusal("that is no manifest")
        return cls(average, rows)


class Base:
    """A manifest made ready for looking chunks up: `numbers` by row, and of each its length and where it begins."""

    __slots__ = ("lengths", "numbers", "offsets", "rows")

    def __init__(self, manifest: Manifest) -> None:
        rows = manifest.rows
        self.rows = [rows[start : start + _ROW_BYTES] for start in range(0, len(rows), _ROW_BYTES)]
        self.lengths = [int.from_bytes(row[:_LENGTH_BYTES], "big") for row in self.rows]
        self.offsets = list(accumulate(self.lengths, initial=0))
        self.numbers = {row: number for number, row in enumerate(self.rows)}
