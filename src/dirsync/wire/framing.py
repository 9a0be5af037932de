"""Owns how messages are cut out of a stream of bytes: a length of four bytes, big-endian, then that many bytes.

Sans-IO: whoever owns the socket feeds `FrameReader` and takes out what is complete. What a payload means is the
codec's business. No length is believed before it was compared with FRAME_BYTES_MAX.
"""

from dirsync.errors import LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX

HEADER_BYTES = 4


def encode_frame(payload: bytes) -> bytes:
    """Return the frame that carries `payload`. Raises LocalProtocolError where it is longer than a frame may be."""
    if len(payload) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"a message of {len(payload)} bytes does not fit into a frame of {FRAME_BYTES_MAX}")
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Collects received bytes and gives back whole payloads, in order.

    It never holds more than one incomplete frame beyond what was received in one piece.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take what arrived. Raises RemoteProtocolError as soon as a frame that stands first claims to be too long."""
        self._buffer += data
        self._first_length()

    def frames_received(self) -> list[bytes]:
        """Return the payloads that are complete, and forget them. Raises RemoteProtocolError as `receive_data`."""
        frames = []
        start = 0
        try:
            with memoryview(self._buffer) as view:
                while (length := self._first_length(start)) is not None:
                    end = start + HEADER_BYTES + length
                    if end > len(view):
                        break
                    frames.append(bytes(view[start + HEADER_BYTES : end]))
                    start = end
        finally:
            del self._buffer[:start]
        return frames

    def _first_length(self, start: int = 0) -> int | None:
        header = self._buffer[start : start + HEADER_BYTES]
        if len(header) < HEADER_BYTES:
            return None
        length = int.from_bytes(header, "big")
        if length > FRAME_BYTES_MAX:
            raise RemoteProtocolError(f"a frame claims {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
        return length
