"""One transport: payloads whole and in order, and nobody made to hold more than it has room for."""

import asyncio
import socket

import pytest

from dirsync.errors import RemoteProtocolError, Unreachable
from dirsync.net.link import RECEIVED_BYTES_MAX, Link
from dirsync.wire.framing import encode_frame
from tests.support.memory_link import joined_links

PAYLOAD_BYTES = 256 * 1024

PAYLOAD_BYTES = 256 * 1024


@pytest.fixture
async def links():
    near, far, _ = joined_links()
    yield near, far
    await near.close(1)
    await far.close(1)


async def settle():
    for _ in range(100):
        await asyncio.sleep(0)


async def test_payloads_arrive_whole_and_in_order(links):
    near, far = links
    payloads = [bytes([number]) * size for number, size in enumerate((0, 1, 3 * PAYLOAD_BYTES, 5))]
    for payload in payloads:
        near.send(payload)
    assert [await far.receive() for _ in payloads] == payloads


async def test_a_link_that_is_not_taken_from_stops_reading(links):
    near, far = links
    sent = 0
    while near.can_send:
        near.send(bytes(PAYLOAD_BYTES))
        sent += 1
        await settle()
        assert sent < 100
    assert far.is_paused
    assert sent * PAYLOAD_BYTES <= RECEIVED_BYTES_MAX + 4 * PAYLOAD_BYTES
    for _ in range(sent):
        await far.receive()
    assert not far.is_paused
    await settle()
    assert near.can_send


async def test_what_arrived_before_the_end_can_still_be_taken(links):
    near, far = links
    near.send(b"last words")
    near.transport.close()
    await settle()
    assert await far.receive() == b"last words"
    with pytest.raises(Unreachable, match="far end closed"):
        await far.receive()
    with pytest.raises(Unreachable):
        far.send(b"too late")


async def test_a_broken_link_is_written_to_no_more(caplog):
    ours, theirs = socket.socketpair()
    link = Link()
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    theirs.close()
    link.send(b"nobody reads this")
    for _ in range(10):
        with pytest.raises(Unreachable):
            link.send(b"nor this")
    assert not caplog.records, "asyncio complained"
    await link.close(1)


async def test_whoever_waits_is_told_of_the_end(links):
    near, far = links
    receiving = asyncio.create_task(far.receive())
    await settle()
    near.transport.close()
    with pytest.raises(Unreachable):
        await receiving


async def test_a_frame_that_is_too_long_ends_the_link(links):
    near, far = links
    near.transport.write(encode_frame(b"good") + b"\xff\xff\xff\xff")
    await settle()
    with pytest.raises(RemoteProtocolError):
        await far.receive()


async def test_a_transport_that_never_closes_is_broken_off():
    class Stuck(asyncio.Transport):
        aborted = False

        def close(self):
            pass

        def abort(self):
            self.aborted = True

    link = Link()
    transport = Stuck()
    link.connection_made(transport)
    await link.close(0.01)
    assert transport.aborted
