"""Owns how payloads are packed (zstd) where that pays, and unpacked without trust.

Each payload is packed by itself, whole, or goes as it is. The library is loaded for the first one: most lines are too
fast for any, and a start does not wait for it.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from dirsync.errors import RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX
from dirsync.wire.framing import PACKED_MARK, Payload

if TYPE_CHECKING:
    import zstandard

_LEVEL = 1
_PACKED_BYTES_MIN = 1024
"""Shorter payloads are never packed."""
_PROBE_BYTES = 16 * 1024
_WORTH = 0.9
"""What does not shrink to this share, its beginning by itself or all of it, goes as it is."""


class Packer:
    """Packs and unpacks the payloads of one connection."""

    def packed(self, head: bytes, tail: Payload) -> tuple[bytes, Payload]:
        """Return a payload that is given in two pieces packed, in two pieces; as it is where that is not worth it."""
        size = len(head) + len(tail)
        if size < _PACKED_BYTES_MIN:
            return head, tail
        pack = self._compressor.compress
        # Of the longer piece: the other one may be a few bytes that say what follows.
        probe = max(head, tail, key=len)[:_PROBE_BYTES]
        if len(pack(probe)) > len(probe) * _WORTH:
            return head, tail
        packed = pack(b"".join((head, tail)))
        return (PACKED_MARK, packed) if len(packed) < size * _WORTH else (head, tail)

    def unpacked(self, payload: Payload) -> Payload:
        """Return what was packed. Raises RemoteProtocolError for what is not, or claims more than a frame may hold."""
        import zstandard  # noqa: PLC0415

        packed = memoryview(payload)[len(PACKED_MARK) :]
        try:
            # What is told is the room that is made; more than that is an error, and what is not told is -1.
            size = zstandard.frame_content_size(packed)
            if not 0 <= size <= FRAME_BYTES_MAX:
                raise RemoteProtocolError(f"a packed frame claims {size} bytes; at most {FRAME_BYTES_MAX} are allowed")
            return self._decompressor.decompress(packed, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise RemoteProtocolError(f"a packed frame is damaged: {error}") from error

    @cached_property
    def _compressor(self) -> "zstandard.ZstdCompressor":
        import zstandard  # noqa: PLC0415

        return zstandard.ZstdCompressor(_LEVEL)

    @cached_property
    def _decompressor(self) -> "zstandard.ZstdDecompressor":
        import zstandard  # noqa: PLC0415

        return zstandard.ZstdDecompressor()
