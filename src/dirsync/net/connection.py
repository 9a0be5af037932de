"""Owns what may be said on a connection, and when: requests and replies by id, streams, notices, signs of life.

Both ends run the same class. One task reads, one sends heartbeats, one listens for silence, and one more per request
of the far end; all of them belong to `run`. What a request means is for its answerer, on top of this.
Ids never clash: the dialler's are odd, the listener's even.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self, assert_never

from dirsync.errors import DirsyncError, LocalProtocolError, Refusal, RemoteProtocolError, Unreachable
from dirsync.net.calls import SERVER_TERMS, Call, Incoming, Terms
from dirsync.net.faults import error_of, fault_of
from dirsync.net.flow import GRANTED_PARTS, PART_BYTES_MAX, WINDOW_PARTS, OnGrant, Window
from dirsync.net.limit import Limiter
from dirsync.net.link import Link
from dirsync.net.notices import Notices
from dirsync.net.outlet import Outlet
from dirsync.net.packing import Packer
from dirsync.net.signs import beat, wait_silent
from dirsync.wire.codec import decode, encode, encode_pieces
from dirsync.wire.meeting import Done, Heartbeat
from dirsync.wire.messages import Cancel, Envelope, Fault, Message, Notice, Part, Reply, Request

REQUESTS_MAX = 32
"""Requests of one end under way at a time; the next ones wait at the end that asks."""
CLOSE_SECONDS = 0.5
"""How long a close may take before the transport is broken off."""

Answer = Callable[[Message, Incoming], Awaitable[Message]]
"""Answers one request, or raises a DirsyncError. It is cancelled when nobody waits for the answer any more."""


async def _answer_nothing(request: Message, _: Incoming) -> Message:
    raise Refusal(f"{type(request).__name__} is not served here")


class Connection:
    """One connection after its meeting. Set what it serves, then enter it (`async with`); it is closed on leaving.

    When it ends, for whatever reason, everything pending fails with Unreachable, or with RemoteProtocolError where
    the far end broke the protocol.
    """

    def __init__(self, link: Link, *, is_dialler: bool, terms: Terms = SERVER_TERMS) -> None:
        self._link = link
        self._terms = terms
        self._number = 1 if is_dialler else 2
        self._calls: dict[int, Call] = {}
        self._incoming: dict[int, tuple[Incoming, asyncio.Task[None]]] = {}
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._outlet = Outlet(link)
        self._notice_window = self._new_window()
        self._notices = Notices(terms.is_windowed)
        self._answer: Answer = _answer_nothing
        self._tell_end: Callable[[DirsyncError], None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._standing: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None
        self._error: DirsyncError | None = None
        self._ended = asyncio.Event()

    # Life.

    def serve(self, answer: Answer) -> None:
        """Have requests of the far end answered by this."""
        self._answer = answer

    def limit(self, limiter: Limiter, *, is_first: bool) -> None:
        """Keep to this limit, with everything that shares it; `is_first`: before what does not go first."""
        self._outlet.limit(limiter, is_first=is_first)

    def pack(self, *, always: bool) -> None:
        """Both ends can pack: take packed messages, and pack what shrinks by it, `always` or while the line is slow."""
        packer = Packer()
        self._link.unpack_with(packer.unpacked)
        self._outlet.pack_with(packer.packed, always=always)

    def on_notice(self, take: Callable[[Message], None]) -> None:
        """Have notices taken by this, in the order of their sending, and before any reply that was sent after them.

        It must not wait. Each notice is acknowledged with `notice_consumed` when its content is dealt with. What
        arrived before somebody took them is given at once.
        """
        self._notices.hand_to(take)

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.run(), name="connection")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if self._running is not None:
            await self._running

    async def run(self) -> None:
        """Work until the connection ends. What an answerer raises beyond DirsyncError ends it, and is raised here."""
        if self._error is not None:
            return
        self._link.heard_seconds = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                start = self._tasks.create_task
                self._standing = [
                    start(self._read(), name="connection reader"),
                    start(beat(self._link, self._terms.heartbeat_seconds), name="connection heartbeat"),
                    start(self._await_silence(), name="connection silence"),
                ]
        finally:
            self._end(Unreachable("the connection broke on an error at this end"))
            await self._link.close(CLOSE_SECONDS)

    async def close(self) -> None:
        """End the connection now. Any number of times; never takes much longer than CLOSE_SECONDS."""
        self._end(Unreachable("the connection was closed at this end"))
        await self._link.close(CLOSE_SECONDS)

    async def wait_closed(self) -> str:
        """Wait until the connection has ended, and return the reason for people."""
        await self._ended.wait()
        return str(self._error)

    def on_end(self, tell: Callable[[DirsyncError], None]) -> None:
        """Have this told, once, when the connection ends, or now if it has. It must not wait."""
        self._tell_end = tell
        if self._error is not None:
            tell(self._error)

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended it yet."""
        return self._error is None

    # Asking.

    async def request(self, body: Message) -> Message:
        """Ask and return the answer. Raises what the far end raised, or that the connection has ended."""
        async with self._slots:
            call = self._call()
            call.inflow.end()
            try:
                await self._send(Request(call.number, body))
                return await call.wait()
            finally:
                self._forget(call)

    async def stream(self, body: Message, on_start: Callable[[], None] | None = None) -> AsyncGenerator[Message, None]:
        """Ask and yield the parts of the answer; leaving early cancels it. Raises as `request`, after what arrived.

        `on_start` is called when the first part arrives: after every notice sent before it, before any sent after it.
        """
        async with self._slots:
            call = self._call()
            call.on_start = on_start
            try:
                await self._send(Request(call.number, body))
                while (part := await call.inflow.next()) is not None:
                    yield part
                    if call.inflow.is_grant_due():
                        self._grant(call.number)
            finally:
                self._forget(call)

    async def upload(self, body: Message, parts: AsyncIterator[Message], on_grant: OnGrant = None) -> Message:
        """Ask, send the parts, and return the answer; it may come before all parts were sent. Raises as `request`.

        `on_grant` is told, in order, of how many parts the far end has dealt with; of the last few it is not.
        """
        async with self._slots:
            call = self._call()
            call.window.on_grant = on_grant
            call.inflow.end()
            try:
                await self._send(Request(call.number, body))
                async for part in parts:
                    if not await call.window.take():
                        break
                    await self._send_part(call.number, part)
                return await call.wait()
            finally:
                self._forget(call)

    async def notify(self, body: Message) -> None:
        """Send a notice, when the far end has dealt with enough of those before. Raises that the connection ended."""
        await self._notice_window.take()
        await self._send(Notice(body))

    def notice_consumed(self) -> None:
        """Let the far end send another notice."""
        if self._notices.consumed():
            self._post(Notice(Done()))

    def _call(self) -> Call:
        if self._error is not None:
            raise self._error
        call = Call(self._number, self._new_window())
        self._number += 2
        self._calls[call.number] = call
        return call

    def _forget(self, call: Call) -> None:
        del self._calls[call.number]
        call.inflow.end()
        if not call.is_answered:
            self._post(Cancel(call.number))

    def _new_window(self) -> Window:
        return Window(WINDOW_PARTS if self._terms.is_windowed else None)

    # Sending.

    async def _send(self, envelope: Envelope) -> None:
        await self._outlet.send(encode(envelope))

    async def _send_part(self, number: int, body: Message) -> None:
        head, tail = encode_pieces(Part(number, body))
        if self._terms.is_windowed and (size := len(head) + len(tail)) > PART_BYTES_MAX:
            raise LocalProtocolError(f"a part of a stream has at most {PART_BYTES_MAX} bytes, not {size}")
        await self._outlet.send(head, tail)

    def _post(self, envelope: Envelope) -> None:
        """Send something small without waiting; nobody minds if the connection has ended."""
        if self._error is None and self._link.is_open:
            self._outlet.post(encode(envelope))

    def _grant(self, number: int) -> None:
        """Tell the far end that GRANTED_PARTS were consumed: the same id, with nothing in it."""
        if self._terms.is_windowed:
            self._post(Part(number, Done()))

    # Receiving.

    async def _read(self) -> None:
        try:
            while True:
                payload = await self._link.receive()
                envelope = decode(payload)
                if isinstance(envelope, Part):
                    await self._take_part(envelope, len(payload))
                else:
                    self._dispatch(envelope)
        except (Unreachable, RemoteProtocolError) as error:
            self._end(error)

    def _dispatch(self, envelope: Request | Reply | Fault | Cancel | Notice) -> None:
        match envelope:
            case Request():
                self._take_request(envelope)
            case Reply():
                if call := self._calls.get(envelope.id):
                    call.answer(envelope.body)
            case Fault():
                if call := self._calls.get(envelope.id):
                    call.fail(error_of(envelope))
            case Cancel():
                if found := self._incoming.get(envelope.id):
                    found[1].cancel()
            case Notice():
                self._take_notice(envelope.body)
            case _:
                assert_never(envelope)

    def _take_request(self, request: Request) -> None:
        # Twice the bound: requests that were cancelled take a moment to end, and are no longer counted over there.
        if request.id in self._incoming or len(self._incoming) >= 2 * REQUESTS_MAX:
            raise RemoteProtocolError("too many requests at once, or one id for two of them")
        number = request.id
        incoming = Incoming(lambda part: self._send_part(number, part), lambda: self._grant(number), self._new_window())
        assert self._tasks is not None
        name = f"answer {type(request.body).__name__}"
        task = self._tasks.create_task(self._serve(number, request.body, incoming), name=name)
        self._incoming[number] = incoming, task
        task.add_done_callback(lambda _: self._answered(number))

    async def _serve(self, number: int, body: Message, incoming: Incoming) -> None:
        try:
            answer: Reply | Fault = Reply(number, await self._answer(body, incoming))
        except DirsyncError as error:
            answer = fault_of(number, error)
        try:
            try:
                await self._send(answer)
            except LocalProtocolError as error:
                await self._send(fault_of(number, error))
        except (Unreachable, RemoteProtocolError) as error:
            self._end(error)

    def _answered(self, number: int) -> None:
        incoming, _ = self._incoming.pop(number)
        incoming.inflow.end()

    async def _take_part(self, part: Part, size: int) -> None:
        call = self._calls.get(part.id)
        found = self._incoming.get(part.id)
        stream = call or (found and found[0])
        # Parts that were under way when their request ended are nobody's.
        if stream is None:
            return
        if isinstance(part.body, Done):
            stream.window.grant(GRANTED_PARTS)
            return
        if call is not None:
            call.started()
        is_windowed = self._terms.is_windowed
        if is_windowed and size > PART_BYTES_MAX:
            raise RemoteProtocolError(f"a part of a stream has {size} bytes; at most {PART_BYTES_MAX} are allowed")
        stream.inflow.put(part.body, is_windowed)
        if not is_windowed:
            await stream.inflow.wait_room()

    def _take_notice(self, body: Message) -> None:
        match body:
            case Heartbeat():
                pass
            case Done():
                self._notice_window.grant(GRANTED_PARTS)
            case _:
                self._notices.arrived(body)

    async def _await_silence(self) -> None:
        if self._terms.silence_seconds is not None:
            self._end(await wait_silent(self._link, self._terms.silence_seconds))

    # Ending.

    def _end(self, error: DirsyncError) -> None:
        if self._error is not None:
            return
        self._error = error
        for call in self._calls.values():
            if not call.is_answered:
                call.fail(error)
        self._notice_window.end(error)
        self._outlet.end(error)
        for incoming, task in self._incoming.values():
            incoming.inflow.end(error)
            task.cancel()
        for task in self._standing:
            task.cancel()
        self._ended.set()
        if self._tell_end is not None:
            self._tell_end(error)
