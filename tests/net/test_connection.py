"""What may be said on a connection: requests, streams, uploads, notices; who waits for whom; and how it ends."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName
from dirsync.core.reports import ContentAt
from dirsync.errors import DirsyncError, LocalProtocolError, Refusal, RemoteProtocolError, RootLost, Unreachable
from dirsync.limits import CHUNK_BYTES, FRAME_BYTES_MAX
from dirsync.net.calls import CLIENT_TERMS, FOR_CLIENT_TERMS, SERVER_TERMS, Terms
from dirsync.net.connection import REQUESTS_MAX, Connection
from dirsync.net.flow import GRANTED_PARTS, PART_BYTES_MAX, WINDOW_PARTS
from dirsync.net.link import UNSENT_BYTES_MAX
from dirsync.net.signs import beat
from dirsync.wire.client_messages import ListRequest, LocksRequest, StatusRequest, WaitRequest
from dirsync.wire.codec import decode, encode
from dirsync.wire.meeting import Chunk, Done
from dirsync.wire.messages import Cancel, Fault, Notice, Part, Reply, Request
from dirsync.wire.replica_messages import (
    EventsNotice,
    HistoryRequest,
    PutReply,
    PutRequest,
    StageReply,
    StageRequest,
    SupplyRequest,
)
from tests.replica.conformance import file_of
from tests.support.memory_link import joined, joined_links

SUPPLY = SupplyRequest(ContentAt(b"f", file_of(b"")), 0)
PUT = PutRequest(b"d" * 32, 0, 0)


class Far:
    """The far end of a pair: answers by script, and notes what happens to it."""

    def __init__(self):
        self.release = asyncio.Event()
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0
        self.received = []
        self.concurrent = self.most_concurrent = 0

    async def answer(self, request, incoming):
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        self.begun.set()
        try:
            return await self._answer(request, incoming)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.concurrent -= 1

    async def _answer(self, request, incoming):
        match request:
            case StageRequest(size=size):
                return StageReply(size)
            case WaitRequest():
                await self.release.wait()
            case SupplyRequest(offset=count):
                for number in range(count):
                    await incoming.send(Chunk(b"%d" % number))
                    self.sent += 1
            case PutRequest(size=wanted):
                while len(self.received) < wanted:
                    self.received.append((await incoming.receive()).data)
                return PutReply(is_good=True)
            case HistoryRequest():
                raise RootLost("no directory")
            case ListRequest():
                return StageReply(2**70)
            case LocksRequest():
                raise ZeroDivisionError
        return Done()


@asynccontextmanager
async def met(terms=SERVER_TERMS, listener_terms=None):
    near, far, wire = joined(terms, listener_terms)
    script = Far()
    far.serve(script.answer)
    async with far, near:
        yield near, far, script, wire


@asynccontextmanager
async def facing():
    """A connection, and the bare link at its far end: what is sent there is up to the test."""
    link, bare, _ = joined_links()
    connection = Connection(link, is_dialler=True)
    connection.serve(Far().answer)
    async with connection:
        yield connection, bare
    await bare.close(1)


def send(link, envelope):
    link.send(encode(envelope))


async def settle():
    """Let everything that can go on go on: in memory that needs turns of the loop only."""
    for _ in range(200):
        await asyncio.sleep(0)


# Requests.


async def test_requests_are_answered_by_id_whatever_their_order():
    async with met() as (near, _, far, _):
        slow = asyncio.create_task(near.request(WaitRequest(-1)))
        replies = await asyncio.gather(*[near.request(StageRequest(b"d" * 32, size)) for size in range(20)])
        assert [reply.have for reply in replies] == list(range(20))
        assert not slow.done()
        far.release.set()
        assert await slow == Done()


async def test_both_ends_may_ask_at_once():
    async with met() as (near, far, _, _):
        near.serve(Far().answer)
        asked = [end.request(StageRequest(b"d" * 32, size)) for size in range(5) for end in (near, far)]
        assert [reply.have for reply in await asyncio.gather(*asked)] == [n for n in range(5) for _ in range(2)]
        streams = [[part async for part in end.stream(SupplyRequest(SUPPLY.ref, 3))] for end in (near, far)]
        assert streams[0] == streams[1] == [Chunk(b"0"), Chunk(b"1"), Chunk(b"2")]


async def test_an_error_crosses_with_its_class_and_its_text():
    async with met() as (near, _, _, _):
        with pytest.raises(RootLost, match="no directory"):
            await near.request(HistoryRequest(b"f"))


async def test_what_is_not_served_is_refused():
    async with met() as (_, far, _, _):
        with pytest.raises(Refusal):
            await far.request(StatusRequest())


async def test_an_answer_that_cannot_be_sent_is_an_error():
    async with met() as (near, _, _, _):
        with pytest.raises(LocalProtocolError):
            await near.request(ListRequest())
        assert near.is_open


async def test_a_request_that_cannot_be_sent_is_an_error_and_leaves_nothing_behind():
    async with met() as (near, _, _, _):
        with pytest.raises(LocalProtocolError):
            await near.request(Chunk(bytes(FRAME_BYTES_MAX)))
        assert await near.request(StageRequest(b"d" * 32, 1)) == StageReply(1)


async def test_leaving_a_request_cancels_it_over_there():
    async with met() as (near, _, far, _):
        waiting = asyncio.create_task(near.request(WaitRequest(-1)))
        await far.begun.wait()
        waiting.cancel()
        await far.cancelled.wait()
        assert await near.request(StageRequest(b"d" * 32, 1)) == StageReply(1)


async def test_only_so_many_requests_are_under_way():
    async with met() as (near, _, far, _):
        asked = [asyncio.create_task(near.request(WaitRequest(-1))) for _ in range(REQUESTS_MAX + 5)]
        await settle()
        assert far.concurrent == REQUESTS_MAX
        far.release.set()
        await asyncio.gather(*asked)
        assert far.most_concurrent == REQUESTS_MAX


async def test_a_fault_of_this_program_ends_the_connection_and_is_raised():
    near, far, _ = joined()
    far.serve(Far().answer)
    running = asyncio.create_task(far.run())
    async with near:
        with pytest.raises(Unreachable):
            await near.request(LocksRequest())
    with pytest.raises(ExceptionGroup) as raised:
        await running
    assert raised.group_contains(ZeroDivisionError)
    assert await far.wait_closed() == "the connection broke on an error at this end"


# Streams.


async def test_a_stream_is_complete_and_in_order():
    async with met() as (near, _, _, _):
        parts = [part.data async for part in near.stream(SupplyRequest(SUPPLY.ref, 5 * WINDOW_PARTS))]
        assert parts == [b"%d" % number for number in range(5 * WINDOW_PARTS)]


async def test_a_slow_receiver_holds_up_only_its_own_stream():
    async with met() as (near, _, far, _), aclosing(near.stream(SupplyRequest(SUPPLY.ref, 1000))) as slow:
        await anext(slow)
        await settle()
        assert far.sent == WINDOW_PARTS
        assert len([part async for part in near.stream(SupplyRequest(SUPPLY.ref, 100))]) == 100
        for _ in range(GRANTED_PARTS):
            await anext(slow)
        await settle()
        assert far.sent == WINDOW_PARTS + 100 + GRANTED_PARTS


async def test_leaving_a_stream_early_cancels_it():
    async with met() as (near, _, far, _):
        async with aclosing(near.stream(SupplyRequest(SUPPLY.ref, 1000))) as parts:
            assert await anext(parts) == Chunk(b"0")
        await far.cancelled.wait()
        assert await near.request(StageRequest(b"d" * 32, 1)) == StageReply(1)


async def test_a_stream_that_fails_raises_after_what_arrived():
    async def fail(request, incoming):
        await incoming.send(Chunk(b"first"))
        raise Refusal("no more")

    near, far, _ = joined()
    far.serve(fail)
    async with far, near, aclosing(near.stream(SUPPLY)) as parts:
        assert await anext(parts) == Chunk(b"first")
        with pytest.raises(Refusal, match="no more"):
            await anext(parts)


# Uploads.


async def chunks(count):
    for number in range(count):
        yield Chunk(b"%d" % number)


async def test_an_upload_is_complete_and_in_order():
    async with met() as (near, _, far, _):
        count = 5 * WINDOW_PARTS
        assert await near.upload(PutRequest(b"d" * 32, count, 0), chunks(count)) == PutReply(True)
        assert far.received == [b"%d" % number for number in range(count)]


async def test_an_upload_goes_no_faster_than_its_receiver():
    drawn = []

    async def counted():
        for number in range(1000):
            drawn.append(number)
            yield Chunk(b"x")

    async with met() as (near, _, far, _):
        far._answer = lambda request, incoming: far.release.wait()
        uploading = asyncio.create_task(near.upload(PUT, counted()))
        await settle()
        assert len(drawn) == WINDOW_PARTS + 1
        uploading.cancel()
        await far.cancelled.wait()


async def test_an_early_answer_ends_an_upload():
    async with met() as (near, _, _, _):
        assert await near.upload(PutRequest(b"d" * 32, 3, 0), chunks(10_000)) == PutReply(True)
        with pytest.raises(RootLost):
            await near.upload(HistoryRequest(b"f"), chunks(10_000))


async def test_an_upload_whose_source_fails_is_cancelled():
    async def broken():
        yield Chunk(b"x")
        await far.begun.wait()
        raise ZeroDivisionError

    async with met() as (near, _, far, _):
        with pytest.raises(ZeroDivisionError):
            await near.upload(PutRequest(b"d" * 32, 10, 0), broken())
        await far.cancelled.wait()


async def test_a_part_that_is_too_large_is_not_sent():
    async def large():
        yield Chunk(bytes(PART_BYTES_MAX))

    async with met() as (near, _, _, _):
        with pytest.raises(LocalProtocolError):
            await near.upload(PUT, large())
        assert near.is_open


# Notices.


def event(number):
    return EventsNotice((Event(number, Role.B, EventName.NOTICE),))


async def test_notices_are_in_order_and_before_a_later_reply():
    seen = []
    async with met() as (near, far, script, _):

        async def tell(request, incoming):
            for number in range(10):
                await far.notify(event(number))
            return Done()

        script._answer = tell
        near.on_notice(seen.append)
        await near.request(StatusRequest())
        assert seen == [event(number) for number in range(10)]


async def test_what_arrived_before_somebody_took_it_is_kept():
    async with met() as (near, far, _, _):
        await far.notify(event(1))
        await near.request(StageRequest(b"d" * 32, 0))
        seen = []
        near.on_notice(seen.append)
        await far.notify(event(2))
        await near.request(StageRequest(b"d" * 32, 0))
        assert seen == [event(1), event(2)]


async def test_notices_that_are_not_consumed_hold_up_further_ones_and_nothing_else():
    seen = []
    async with met() as (near, far, _, _):
        near.on_notice(seen.append)

        async def tell():
            for number in range(WINDOW_PARTS + 2):
                await far.notify(event(number))

        telling = asyncio.create_task(tell())
        await settle()
        assert len(seen) == WINDOW_PARTS
        assert await near.request(StageRequest(b"d" * 32, 1)) == StageReply(1)
        for _ in range(GRANTED_PARTS - 1):
            near.notice_consumed()
        await settle()
        assert len(seen) == WINDOW_PARTS
        near.notice_consumed()
        await telling
        await settle()
        assert seen == [event(number) for number in range(WINDOW_PARTS + 2)]


async def test_a_notice_that_waits_for_room_fails_when_the_connection_ends():
    async with met() as (near, far, _, _):
        for number in range(WINDOW_PARTS):
            await far.notify(event(number))
        waiting = asyncio.create_task(far.notify(event(-1)))
        await settle()
        await near.close()
        with pytest.raises(Unreachable):
            await waiting


# Signs of life, and the end.


async def test_heartbeats_keep_a_quiet_connection_alive():
    terms = Terms(heartbeat_seconds=0.02, silence_seconds=0.5)
    async with met(terms) as (near, far, _, wire):
        while wire.crossed < 1000:
            await asyncio.sleep(0.02)
        assert near.is_open
        assert far.is_open


async def test_silence_is_noticed_at_both_ends_and_everything_fails():
    terms = Terms(heartbeat_seconds=0.02, silence_seconds=0.2)
    async with met(terms) as (near, far, _, wire):
        waiting = asyncio.create_task(near.request(WaitRequest(-1)))
        await settle()
        wire.is_cut = True
        ends = {await near.wait_closed(), await far.wait_closed()}
        # On a busy machine the end that notices second may have been closed by the first before.
        assert "nothing was heard for 0.2 s" in ends
        assert ends <= {"nothing was heard for 0.2 s", "the far end closed the connection"}
        with pytest.raises(Unreachable, match=r"nothing was heard|closed the connection"):
            await waiting


async def test_a_transport_that_is_closing_is_left_alone_by_what_nobody_waits_for():
    """As when a send has just failed: the link is told in the next turn of the loop, and is not an error before."""
    near, far, _ = joined_links()
    connection = Connection(near, is_dialler=True)
    near.transport._is_closing = True
    connection.notice_consumed()
    await asyncio.wait_for(beat(near, 0.01), 5)
    far.transport.abort()


async def test_a_client_may_be_silent():
    near, far = Terms(False, 3600, None), Terms(False, 0.02, None)
    async with met(near, far) as (client, _, _, wire):
        while wire.crossed < 300:
            await asyncio.sleep(0.02)
        assert await client.request(StageRequest(b"d" * 32, 1)) == StageReply(1)


async def test_a_client_is_served_streams_by_the_back_pressure_of_its_transport():
    async with met(CLIENT_TERMS, FOR_CLIENT_TERMS) as (near, _, far, _):
        far._answer = lambda request, incoming: send_many(incoming, 100)
        async with aclosing(near.stream(SUPPLY)) as parts:
            seen = [part.data async for part in parts]
        assert seen == [bytes([number]) * CHUNK_BYTES for number in range(100)]


async def send_many(incoming, count):
    for number in range(count):
        await incoming.send(Chunk(bytes([number]) * CHUNK_BYTES))
    return Done()


async def test_leaving_a_stream_early_lets_a_client_go_on():
    async with met(CLIENT_TERMS, FOR_CLIENT_TERMS) as (near, _, far, _):
        answer = far._answer
        far._answer = lambda request, incoming: send_many(incoming, 200)
        async with aclosing(near.stream(SUPPLY)) as parts:
            await anext(parts)
            await settle()
        await far.cancelled.wait()
        far._answer = answer
        assert await near.request(StageRequest(b"d" * 32, 1)) == StageReply(1)


async def test_a_receiver_that_is_slow_itself_hears_no_silence():
    near, far = Terms(False, 3600, 0.1), Terms(False, 0.02, None)
    async with met(near, far) as (client, _, script, _):
        script._answer = lambda request, incoming: send_many(incoming, 100)
        async with aclosing(client.stream(SUPPLY)) as parts:
            await anext(parts)
            await asyncio.sleep(0.3)
            assert len([part async for part in parts]) == 99


async def test_parts_that_were_not_asked_for_are_dropped():
    async with met(CLIENT_TERMS, FOR_CLIENT_TERMS) as (near, _, far, _):
        far._answer = lambda request, incoming: send_many(incoming, 100)
        assert await near.request(StatusRequest()) == Done()


async def test_when_one_end_closes_everything_pending_fails_at_the_other():
    ended = []
    async with met() as (near, far, script, _):
        near.on_end(ended.append)
        calls = [
            asyncio.create_task(near.request(WaitRequest(-1))),
            asyncio.create_task(anext(near.stream(WaitRequest(-1)))),
            asyncio.create_task(near.upload(WaitRequest(-1), chunks(1000))),
        ]
        await settle()
        await far.close()
        for call in calls:
            with pytest.raises(Unreachable):
                await call
        assert await near.wait_closed() == "the far end closed the connection"
        assert [str(error) for error in ended] == ["the far end closed the connection"]
        assert script.cancelled.is_set()
        for call in (near.request(StatusRequest()), near.notify(event(1)), anext(near.stream(SUPPLY))):
            with pytest.raises(Unreachable):
                await call


async def test_an_end_is_told_also_to_who_asks_later():
    async with met() as (near, _, _, _):
        await near.close()
        ended = []
        near.on_end(ended.append)
        assert len(ended) == 1


async def test_closing_twice_and_before_it_began_is_nothing():
    near, far, _ = joined()
    await near.close()
    await near.close()
    async with near, far:
        pass
    with pytest.raises(Unreachable):
        await near.request(StatusRequest())


async def test_closing_does_not_wait_for_an_end_that_is_gone():
    async with met() as (near, _, _, wire):
        wire.is_cut = True
        await near.close()
        assert not near.is_open


# An end that breaks the protocol.


BROKEN = {
    "not a message": [b"\xc1"],
    "an id for two requests": [encode(Request(2, WaitRequest(-1)))] * 2,
    "too many requests": [encode(Request(2 * n, WaitRequest(-1))) for n in range(2 * REQUESTS_MAX + 1)],
    "too many notices": [encode(Notice(event(n))) for n in range(WINDOW_PARTS + 1)],
    "more of an upload than there is room for": [
        encode(Request(2, WaitRequest(-1))),
        *[encode(Part(2, Chunk(b"x")))] * (WINDOW_PARTS + 1),
    ],
    "a part that is too large": [encode(Request(2, WaitRequest(-1))), encode(Part(2, Chunk(bytes(PART_BYTES_MAX))))],
}


@pytest.mark.parametrize("payloads", BROKEN.values(), ids=BROKEN.keys())
async def test_whoever_breaks_the_protocol_is_cut_off(payloads):
    async with facing() as (connection, bare):
        waiting = asyncio.create_task(connection.request(StatusRequest()))
        for payload in payloads:
            bare.send(payload)
        await connection.wait_closed()
        with pytest.raises(RemoteProtocolError):
            await waiting


async def test_a_frame_that_is_too_long_is_cut_off():
    async with facing() as (connection, bare):
        waiting = asyncio.create_task(connection.request(StatusRequest()))
        bare.transport.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        with pytest.raises(RemoteProtocolError, match="claims"):
            await waiting


async def test_what_belongs_to_no_request_is_ignored():
    async with facing() as (connection, bare):
        asking = asyncio.create_task(connection.request(StatusRequest()))
        request = decode(await bare.receive())
        for stale in (Reply(99, Done()), Fault(99, "Refusal", ""), Cancel(99), Part(99, Chunk(b"")), Part(99, Done())):
            send(bare, stale)
        send(bare, Reply(request.id, StageReply(1)))
        assert await asking == StageReply(1)


async def test_an_error_of_an_unknown_class_is_a_refusal():
    async with facing() as (connection, bare):
        asking = asyncio.create_task(connection.request(StatusRequest()))
        request = decode(await bare.receive())
        send(bare, Fault(request.id, "SystemExit", "from a later version"))
        with pytest.raises(DirsyncError, match="later version") as raised:
            await asking
        assert type(raised.value) is Refusal


async def test_an_end_that_never_reads_cannot_make_this_one_hoard():
    async with facing() as (connection, bare):
        bare.transport.pause_reading()
        unsent = connection._link.transport.get_write_buffer_size
        asking = [asyncio.create_task(connection.request(Chunk(bytes(1 << 20)))) for _ in range(REQUESTS_MAX)]
        await settle()
        assert unsent() < 2 * FRAME_BYTES_MAX < UNSENT_BYTES_MAX
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
