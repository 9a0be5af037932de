"""Packed payloads: where it pays, of those that shrink, between ends that both can; and bounded where somebody lies."""

import asyncio
import struct
from contextlib import asynccontextmanager
from random import Random

import pytest
import zstandard

from dirsync.core.entry import Digest
from dirsync.errors import RemoteProtocolError, Unreachable
from dirsync.limits import FRAME_BYTES_MAX
from dirsync.net.limit import Limiter
from dirsync.net.line import SLOW_BYTES_A_SECOND, Line
from dirsync.net.packing import Packer
from dirsync.wire.framing import PACKED_MARK
from dirsync.wire.meeting import Chunk
from dirsync.wire.replica_messages import PutReply, PutRequest
from tests.support.memory_link import joined, joined_links
from tests.support.virtual_time import in_virtual_time

PART = 50_000
TEXT = b"".join(b"%d lines are much like each other\n" % number for number in range(PART))[:PART]
NOISE = Random(1).randbytes(PART)
RATE = 100_000
PUT = PutRequest(Digest(bytes(32)), 10**9, 0)


def packed(content, **options):
    return PACKED_MARK + zstandard.ZstdCompressor(**options).compress(content)


@pytest.mark.parametrize(("head", "tail"), [(b"head", TEXT), (TEXT, b""), (TEXT[:1000], TEXT[:1000])])
def test_what_shrinks_is_packed_and_comes_back(head, tail):
    packer = Packer()
    mark, content = packer.packed(head, memoryview(tail))
    assert mark == PACKED_MARK
    assert len(content) < (len(head) + len(tail)) / 2
    assert packer.unpacked(mark + content) == head + tail


@pytest.mark.parametrize(
    "tail", [NOISE, TEXT[:100], b"", NOISE[:40_000] + TEXT[:10_000], TEXT[:16_384] + Random(2).randbytes(4 * PART)]
)
def test_what_does_not_shrink_goes_as_it_is(tail):
    assert Packer().packed(b"head", tail) == (b"head", tail)


def lying(content, claimed):
    """Return a packed payload whose header claims another size."""
    honest, told = packed(content), struct.pack("<I", len(content))
    assert told in honest
    return honest.replace(told, struct.pack("<I", claimed), 1)


HOSTILE = {
    "more than a frame": packed(bytes(FRAME_BYTES_MAX + 1)),
    "a claim of far more": lying(bytes(1_000_000), 2**32 - 1),
    "more than it claims": lying(bytes(1_000_000), 70_000),
    "less than it claims": lying(bytes(70_000), 1_000_000),
    "no claim": packed(bytes(100), write_content_size=False),
    "something behind it": packed(TEXT) + b"x",
    "two in one": packed(TEXT) + packed(TEXT)[2:],
    "cut off": packed(TEXT)[:-1],
    "nothing": PACKED_MARK,
    "anything": PACKED_MARK + NOISE,
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_not_honestly_packed_is_refused(payload):
    with pytest.raises(RemoteProtocolError):
        Packer().unpacked(payload)


def test_the_longest_frame_can_be_packed():
    assert Packer().unpacked(packed(bytes(FRAME_BYTES_MAX))) == bytes(FRAME_BYTES_MAX)


async def test_a_packed_payload_that_nobody_agreed_to_ends_the_link():
    near, far, _ = joined_links()
    near.send(packed(TEXT))
    with pytest.raises(RemoteProtocolError):
        await far.receive()
    await near.close(1)
    await far.close(1)


async def test_what_was_packed_in_a_packed_payload_is_no_message():
    near, far, _ = joined()
    for end in (near, far):
        end.pack(always=True)
    async with near, far:
        near._link.send(packed(packed(TEXT)))
        assert "not a message" in await far.wait_closed()


# When it pays.


def sent(line, rate, seconds, waited_share, start=0.0):
    now = start
    while now < start + seconds:
        now += PART / rate
        line.sent(PART, now, waited_share * PART / rate)
    return now


def test_a_line_that_is_waited_for_is_slow_until_it_is_faster():
    line = Line()
    assert not line.is_slow
    now = sent(line, RATE, 1, waited_share=0.9)
    assert line.is_slow
    now = sent(line, 2 * SLOW_BYTES_A_SECOND, 0.3, waited_share=0.9, start=now)
    assert not line.is_slow


def test_a_sender_that_is_slow_by_itself_does_not_make_the_line_slow():
    line = Line()
    sent(line, 20 * PART, 2, waited_share=0.1)
    assert not line.is_slow


def test_a_break_is_not_taken_for_a_slow_line_nor_for_a_fast_one():
    line = Line()
    line.sent(PART, 0.0, 0.0)
    line.sent(PART, 10.0, 0.01)
    assert not line.is_slow
    now = sent(line, RATE, 1, waited_share=0.9, start=10.0)
    line.sent(PART, now + 10, 0.0)
    assert line.is_slow


async def answer(request, incoming):
    content = b""
    while part := (await incoming.receive()).data:
        content += bytes(part)
    return PutReply(is_good=content in {TEXT * 20, NOISE * 20})


async def parts(content):
    for _ in range(20):
        yield Chunk(content)
    yield Chunk(b"")


@asynccontextmanager
async def pair(modes, limit=None):
    near, far, wire = joined()
    for end, always in zip((near, far), modes, strict=True):
        if always is not None:
            end.pack(always=always)
    if limit is not None:
        near.limit(Limiter(limit), is_first=False)
    far.serve(answer)
    async with far, near:
        yield near, wire


async def carried(content, modes, limit=None):
    """Return how many bytes crossed the wire for twenty parts, and the seconds."""
    async with pair(modes, limit) as (near, wire):
        begin = asyncio.get_running_loop().time()
        assert await near.upload(PUT, parts(content)) == PutReply(is_good=True)
        return wire.crossed, asyncio.get_running_loop().time() - begin


@in_virtual_time
async def test_text_arrives_sooner_on_a_slow_line_in_fewer_bytes():
    plain, plain_seconds = await carried(TEXT, (None, None), RATE)
    fewer, seconds = await carried(TEXT, (False, False), RATE)
    assert plain > 20 * PART
    assert fewer < plain / 2
    assert seconds < plain_seconds / 2


@in_virtual_time
async def test_a_line_that_nobody_waits_for_carries_everything_as_it_is():
    assert (await carried(TEXT, (False, False)))[0] > 20 * PART


@in_virtual_time
async def test_what_does_not_shrink_crosses_a_slow_line_as_it_is():
    crossed, _ = await carried(NOISE, (False, False), RATE)
    assert 20 * PART < crossed < 20 * PART + 2_000


async def test_everything_that_shrinks_is_packed_where_that_is_wanted():
    assert (await carried(TEXT, (True, False)))[0] < 10 * PART


async def test_a_connection_ends_on_a_packed_frame_that_it_did_not_agree_to():
    async with pair((True, None)) as (near, _):
        with pytest.raises(Unreachable):
            await near.upload(PUT, parts(TEXT))
