"""Frames: whole, byte by byte, with trailing data; and lengths that lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.errors import LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX
from dirsync.wire.framing import FrameReader, encode_frame

PAYLOADS = [b"first", b"", b"x" * 70_000, b"last"]


def test_a_frame_is_its_length_and_its_payload():
    assert encode_frame(b"abc") == b"\0\0\0\3abc"


def test_whole_frames_come_back_in_order():
    reader = FrameReader()
    reader.receive_data(b"".join(map(encode_frame, PAYLOADS)))
    assert reader.frames_received() == PAYLOADS
    assert reader.frames_received() == []


def test_frames_come_back_byte_by_byte():
    reader = FrameReader()
    received = []
    for byte in b"".join(map(encode_frame, [b"one", b"", b"two"])):
        reader.receive_data(bytes([byte]))
        received += reader.frames_received()
    assert received == [b"one", b"", b"two"]


def test_trailing_data_waits_for_the_rest():
    reader = FrameReader()
    frame = encode_frame(b"second")
    reader.receive_data(encode_frame(b"first") + frame[:5])
    assert reader.frames_received() == [b"first"]
    reader.receive_data(frame[5:])
    assert reader.frames_received() == [b"second"]


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 13))
def test_how_the_bytes_are_cut_makes_no_difference(payloads, size):
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader()
    received = []
    for start in range(0, len(stream), size):
        reader.receive_data(stream[start : start + size])
        received += reader.frames_received()
    assert received == payloads


def test_the_longest_frame_passes_and_a_longer_one_does_not():
    reader = FrameReader()
    reader.receive_data(encode_frame(bytes(FRAME_BYTES_MAX)))
    assert [len(frame) for frame in reader.frames_received()] == [FRAME_BYTES_MAX]
    with pytest.raises(LocalProtocolError):
        encode_frame(bytes(FRAME_BYTES_MAX + 1))


def test_a_length_that_is_too_long_is_refused_before_its_payload_is_there():
    with pytest.raises(RemoteProtocolError):
        FrameReader().receive_data((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_a_length_that_is_too_long_is_refused_behind_a_good_frame():
    reader = FrameReader()
    reader.receive_data(encode_frame(b"good") + b"\xff\xff\xff\xff")
    with pytest.raises(RemoteProtocolError):
        reader.frames_received()
