"""Owns how the pieces of a content travel, each as one part of a stream, or as several where it is long."""

from collections.abc import Iterator

from dirsync.core.chunks import SPAN_BYTES_MAX, Piece, Span
from dirsync.limits import CHUNK_BYTES
from dirsync.wire.meeting import Chunk
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import SpanPart


def parts_of(piece: Piece) -> Iterator[Chunk | SpanPart]:
    """Yield the parts that carry a piece; none for an empty one."""
    if isinstance(piece, Span):
        yield SpanPart(piece)
        return
    for start in range(0, len(piece), CHUNK_BYTES):
        yield Chunk(piece[start : start + CHUNK_BYTES])


def piece_of(part: Message) -> Piece | None:
    """Return the piece that a part carries; None for what carries none, or a span that is longer than one may be."""
    match part:
        case Chunk():
            return part.data
        case SpanPart(span) if 0 < span.size <= SPAN_BYTES_MAX:
            return span
        case _:
            return None
