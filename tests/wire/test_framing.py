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
    with pytest.raises(RemoteProtocolError):
        FrameReader().receive_data(encode_frame(b"good") + b"\xff\xff\xff\xff")


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 16_388, 70_004, 70_005, 70_008, 70_009, 90_012])
def test_long_frames_are_cut_out_wherever_the_bytes_are_parted(cut):
    payloads = [b"a" * 70_000, b"b" * 20_000, b"", b"c" * 600_000, b"d"]
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader()
    reader.receive_data(stream[:cut])
    received = reader.frames_received()
    reader.receive_data(stream[cut:])
    received += reader.frames_received()
    assert received == payloads


def test_a_long_frame_is_received_into_what_becomes_its_payload():
    reader = FrameReader()
    reader.receive_data(encode_frame(bytes(200_000))[:100])
    room = reader.room()
    room[:199_904] = b"x" * 199_904
    reader.filled(199_904)
    (payload,) = reader.frames_received()
    room[0] = ord("y")
    assert payload[96] == ord("y")


def test_a_frame_gets_room_as_it_arrives_not_as_it_claims():
    reader = FrameReader()
    reader.receive_data(FRAME_BYTES_MAX.to_bytes(4, "big") + bytes(10))
    rooms = []
    for _ in range(4):
        rooms.append(len(reader.room()))
        reader.filled(rooms[-1])
    assert rooms[0] < 600_000
    assert all(room <= sum(rooms[:place]) + 100 for place, room in enumerate(rooms[1:], 1))
