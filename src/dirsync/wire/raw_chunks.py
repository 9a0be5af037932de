"""Owns how the bytes of large contents travel: not packed, because that would copy them.

A Part with a Chunk is a mark, which begins no msgpack, the id in eight bytes, big-endian, and the data.
"""

from dirsync.core.chunks import ContentBytes
from dirsync.errors import RemoteProtocolError
from dirsync.wire.framing import Payload
from dirsync.wire.meeting import Chunk
from dirsync.wire.messages import Envelope, Part

CHUNK_MARK = b"\xc1\x00"
_ID_BYTES = 8
_DATA_AT = len(CHUNK_MARK) + _ID_BYTES
_ID_MAX = 2**63 - 1


def chunk_pieces(envelope: Envelope) -> tuple[bytes, ContentBytes] | None:
    """Return the payload in two pieces, None for any other message. Raises OverflowError for an id that is none."""
    if not isinstance(envelope, Part) or not isinstance(envelope.body, Chunk):
        return None
    return CHUNK_MARK + envelope.id.to_bytes(_ID_BYTES, "big"), envelope.body.data


def read_chunk(payload: Payload) -> Part:
    """Invert `chunk_pieces`. The data is a view of the payload. Raises RemoteProtocolError."""
    number = int.from_bytes(payload[len(CHUNK_MARK) : _DATA_AT], "big")
    if len(payload) < _DATA_AT or number > _ID_MAX:
        raise RemoteProtocolError("a chunk without a good id")
    return Part(number, Chunk(memoryview(payload)[_DATA_AT:].toreadonly()))
