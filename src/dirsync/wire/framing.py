"""Owns how messages are cut out of a stream of bytes: a length of four bytes, big-endian, then that many bytes.

Sans-IO: whoever owns the socket fills the room that `FrameReader` offers, and takes out what is complete. What a
payload means is the codec's business. No length is believed before it was compared with FRAME_BYTES_MAX.
"""

from dirsync.errors import LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX

HEADER_BYTES = 4
_SHORT_BYTES = 16 * 1024
"""Longer frames arrive in a block of their own, which becomes their payload: what is large is not copied."""
_COMMON_BYTES = 4 * _SHORT_BYTES
_BLOCK_BYTES = 512 * 1024
"""A block is this large at first, or as its frame: a frame gets room as it arrives, not as it claims."""

PACKING = "zstd"
"""How an end that is met says that it takes payloads that were packed by this method."""
PACKED_MARK = b"\xc1\x01"
"""Begins a payload that was packed, and no message."""

Payload = bytes | memoryview
"""What a frame carries; a view of what nobody else has, where it is long."""


def frame_header(length: int) -> bytes:
    """Return what goes before a payload of this length. Raises LocalProtocolError for more than a frame may have."""
    if length > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"a message of {length} bytes does not fit into a frame of {FRAME_BYTES_MAX}")
    return length.to_bytes(HEADER_BYTES, "big")


def encode_frame(payload: bytes) -> bytes:
    """Return the frame that carries `payload`. Raises LocalProtocolError where it is longer than a frame may be."""
    return frame_header(len(payload)) + payload


class FrameReader:
    """Has received bytes put where they belong and gives back whole payloads, in order.

    It never holds more than one incomplete frame, in at most twice the room of what arrived of it.
    """

    __slots__ = ("_common", "_filled", "_frames", "_length", "_view")

    def __init__(self) -> None:
        self._common = self._view = memoryview(bytearray(_COMMON_BYTES))
        self._filled = 0
        self._length = 0  # of the frame that has a block of its own, else 0
        self._frames: list[Payload] = []

    def room(self) -> memoryview:
        """Return where the next bytes go; never empty. Good until the next call of anything here."""
        return self._view[self._filled :]

    def filled(self, size: int) -> None:
        """Take so many bytes that were put there. Raises RemoteProtocolError as soon as a frame claims to be too long.

        Nothing is received any more after that.
        """
        self._filled += size
        if not self._length:
            self._cut()
        elif self._filled >= self._length:
            self._end_block()
        elif self._filled == len(self._view):
            self._widen(self._view)

    def receive_data(self, data: Payload) -> None:
        """Take what arrived elsewhere. Raises as `filled`."""
        with memoryview(data) as left:
            at = 0
            while at < len(left):
                room = self.room()
                size = min(len(room), len(left) - at)
                room[:size] = left[at : at + size]
                self.filled(size)
                at += size

    def frames_received(self) -> list[Payload]:
        """Return the payloads that are complete, and forget them."""
        frames, self._frames = self._frames, []
        return frames

    def _cut(self) -> None:
        """Take the frames out of the common room; a long one that has only begun moves on."""
        start = 0
        while (at := start + HEADER_BYTES) <= self._filled:
            length = int.from_bytes(self._view[start:at], "big")
            if length > FRAME_BYTES_MAX:
                raise RemoteProtocolError(f"a frame claims {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
            if at + length > self._filled:
                if length > _SHORT_BYTES:
                    self._length = length
                    self._widen(self._view[at : self._filled])
                    return
                break
            self._frames.append(bytes(self._view[at : at + length]))
            start = at + length
        self._begin_common(bytes(self._view[start : self._filled]))

    def _widen(self, begun: memoryview) -> None:
        # Room for one more header: what follows a frame at once is known without another read.
        size = min(self._length + HEADER_BYTES, max(2 * len(begun), _BLOCK_BYTES))
        self._view = memoryview(bytearray(size))
        self._filled = len(begun)
        self._view[: self._filled] = begun

    def _end_block(self) -> None:
        self._frames.append(self._view[: self._length])
        rest = bytes(self._view[self._length : self._filled])
        self._length, self._view = 0, self._common
        self._begin_common(rest)
        self._cut()

    def _begin_common(self, rest: bytes) -> None:
        self._filled = len(rest)
        self._view[: self._filled] = rest
