"""Serves a replica to the far end of a pair of connections; `dirsync.replica.remote` is the other half.

Decides nothing: each request becomes one call, each report one row of a notice. What a far end could ask in bad faith
(more than fits, more than announced) is refused here; paths and digests were checked by the codec.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import TypeVar

from dirsync.core.chunks import Manifest, Piece, size_of_piece
from dirsync.core.entry import File
from dirsync.core.inventory import BUCKETS, Row, digests_of, into_buckets
from dirsync.core.plan import Action
from dirsync.core.reports import Back, Report
from dirsync.errors import DirsyncError, ProtocolError, Refusal, Unreachable
from dirsync.limits import BATCH_BYTES_MAX, CHUNK_BYTES, INLINE_BYTES_MAX
from dirsync.net.calls import Incoming
from dirsync.net.connection import REQUESTS_MAX, Connection
from dirsync.replica.interface import FullReplica
from dirsync.replica.pieces import parts_of, piece_of
from dirsync.replica.streams import batched, closing
from dirsync.replica.weights import weight_of_ref, weight_of_report, weight_of_row
from dirsync.wire.meeting import Done
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import (
    ApplyReply,
    ApplyRequest,
    FetchReply,
    FetchRequest,
    HistoryReply,
    HistoryRequest,
    HoldOnlyRequest,
    HoldRequest,
    KnowsReply,
    KnowsRequest,
    LearnRequest,
    LookReply,
    LookRequest,
    ManifestReply,
    ManifestRequest,
    PutReply,
    PutRequest,
    ReleaseRequest,
    ReportsNotice,
    RestoreReply,
    RestoreRequest,
    SnapshotPart,
    SnapshotRequest,
    StageReply,
    StageRequest,
    SupplyRequest,
    UnholdRequest,
)

T = TypeVar("T")


class ReplicaServer:
    """Serves `replica`, one session at a time.

    Reports are forwarded from the end of the first snapshot on: what was reported before is superseded by it. Changes
    that a session leaves under way are finished; the next one is served meanwhile, but neither changes anything nor
    takes a snapshot before they are, because their results reach nobody.
    """

    def __init__(self, replica: FullReplica) -> None:
        self._replica = replica
        self._control: Connection | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._pump: asyncio.Task[None] | None = None
        self._in_hand: Sequence[Report] = ()
        self._work: set[asyncio.Task[object]] = set()
        self._left: frozenset[asyncio.Task[object]] = frozenset()
        self._broken: BaseException | None = None
        self._room = asyncio.Semaphore(REQUESTS_MAX)

    async def serve(self, control: Connection) -> str:
        """Enter the control connection, serve until it has ended, and return the reason.

        Changes that are being made by then are not interrupted, and not waited for: a disk may hang.
        """
        self._control = control
        self._in_hand = ()
        self._left = frozenset(self._work)
        control.serve(self._answer)
        async with control, asyncio.TaskGroup() as self._tasks:
            reason = await control.wait_closed()
            await self._stop_pump()
        if self._broken is not None:
            raise self._broken
        return reason

    async def answer_bulk(self, request: Message, incoming: Incoming) -> Message:
        """Answer a request for content; for `Connection.serve` of a bulk connection, which the caller enters."""
        match request:
            case SupplyRequest():
                return await self._supply(request, incoming)
            case PutRequest():
                async with closing(_received(incoming, request.size - request.offset)) as pieces:
                    is_good = await self._replica.put(
                        request.digest, request.size, request.offset, pieces, base=request.base
                    )
                return PutReply(is_good)
            case ManifestRequest():
                manifest = await self._replica.manifest(request.digest)
                return ManifestReply(0, b"") if manifest is None else ManifestReply(manifest.average, manifest.rows)
            case LearnRequest():
                learnt = Manifest.of(request.average, request.rows) if request.rows else None
                await self._replica.learn(request.digest, learnt)
                return Done()
            case _:
                raise Refusal(f"{type(request).__name__} is not served on this connection")

    async def _supply(self, request: SupplyRequest, incoming: Incoming) -> Message:
        replica, ref = self._replica, request.ref
        pieces: AsyncIterator[Piece] = (
            replica.supply(ref, request.offset)
            if request.base is None
            else replica.differences(ref, request.offset, request.base)
        )
        async with closing(pieces) as supplied:
            async for piece in supplied:
                for part in parts_of(piece):
                    await incoming.send(part)
        return Done()

    # Requests.

    async def _answer(self, request: Message, incoming: Incoming) -> Message:
        match request:
            case SnapshotRequest():
                return await self._snapshot(request.digests, incoming)
            case LookRequest():
                return LookReply(await self._replica.look(request.is_full))
            case FetchRequest():
                return await self._fetch(request)
            case StageRequest():
                return StageReply(await self._replica.stage(request.digest, request.size))
            case KnowsRequest():
                return KnowsReply(await self._replica.knows(request.digest))
            case HistoryRequest():
                return HistoryReply(tuple(await self._replica.history(request.path)))
            case _:
                return await self._change(request)

    async def _change(self, request: Message) -> Message:
        match request:
            case ApplyRequest():
                if not all(_is_possible(step.action) for step in request.steps):
                    raise Refusal("only a file is renamed, and it is a file afterwards")
                return ApplyReply(tuple(await self._complete(self._replica.apply(request.steps))))
            case RestoreRequest():
                return RestoreReply(await self._complete(self._replica.restore(request.version)))
            case HoldRequest():
                await self._complete(self._replica.hold(request.names))
            case HoldOnlyRequest():
                await self._complete(self._replica.hold_only(request.names, request.after, request.until))
            case UnholdRequest():
                await self._complete(self._replica.unhold(request.paths))
            case ReleaseRequest():
                await self._complete(self._replica.release(request.captures))
            case _:
                raise Refusal(f"{type(request).__name__} is not served on this connection")
        return Done()

    async def _fetch(self, request: FetchRequest) -> Message:
        if any(ref.entry.size > INLINE_BYTES_MAX for ref in request.refs):
            raise Refusal(f"only contents of at most {INLINE_BYTES_MAX} bytes are fetched; larger ones are supplied")
        if sum(map(weight_of_ref, request.refs)) > BATCH_BYTES_MAX:
            raise Refusal(f"contents of more than {BATCH_BYTES_MAX} bytes do not fit into one answer")
        return FetchReply(tuple(await self._replica.fetch(request.refs)))

    async def _complete(self, change: Coroutine[object, object, T]) -> T:
        """Make a change to its end, whether or not the requester is still there to hear of it."""
        try:
            await self._wait_left()
            await self._room.acquire()
        except asyncio.CancelledError:
            change.close()
            raise
        task = asyncio.create_task(change)
        self._work.add(task)
        task.add_done_callback(self._completed)
        return await asyncio.shield(task)

    def _completed(self, task: asyncio.Task[object]) -> None:
        self._work.discard(task)
        self._room.release()
        error = None if task.cancelled() else task.exception()
        # A DirsyncError is told to the requester, if there still is one; anything else is a fault of this program.
        if error is not None and not isinstance(error, DirsyncError):
            self._broken = error

    # Reports.

    async def _wait_left(self) -> None:
        """Wait for what the session before left under way."""
        if self._left:
            await asyncio.wait(self._left)
            self._left = frozenset()

    async def _snapshot(self, believed: Sequence[bytes], incoming: Incoming) -> Message:
        if believed and len(believed) != BUCKETS:
            raise Refusal(f"an inventory has {BUCKETS} buckets, not {len(believed)}")
        await self._wait_left()
        # A state in the hands of the pump is older than the snapshot; captures are reported again after it.
        await self._stop_pump()
        try:
            async with closing(self._replica.snapshot()) as batches:
                if believed:
                    await _send_differing(believed, [row async for entries in batches for row in entries], incoming)
                else:
                    async for entries in batches:
                        await _send_rows(entries, incoming)
        finally:
            # Also where there is none: the far end waits for the report that the root is back.
            self._start_pump()
        return Done()

    def _start_pump(self) -> None:
        """Forward reports; first, once more, that the root came back, where the pump before may not have told it.

        No snapshot says whether it is another root.
        """
        control = self._control
        assert control is not None
        assert self._tasks is not None
        if control.is_open:
            untold = [report for report in self._in_hand if isinstance(report, Back)]
            self._pump = self._tasks.create_task(self._forward_reports(control, untold), name="reports")

    async def _stop_pump(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
            self._pump = None

    async def _forward_reports(self, control: Connection, untold: Sequence[Report]) -> None:
        self._in_hand = untold
        while True:
            for batch in batched(self._in_hand, weight_of_report, BATCH_BYTES_MAX):
                try:
                    await control.notify(ReportsNotice(batch))
                except (Unreachable, ProtocolError):
                    return
            self._in_hand = ()
            self._in_hand = await self._replica.reports()


def _is_possible(action: Action) -> bool:
    return action.renamed_from is None or (action.expected_source is not None and isinstance(action.intended, File))


async def _send_rows(rows: Sequence[Row], incoming: Incoming) -> None:
    for part in batched(rows, weight_of_row, CHUNK_BYTES):
        await incoming.send(SnapshotPart(part))


async def _send_differing(believed: Sequence[bytes], rows: Sequence[Row], incoming: Incoming) -> None:
    """Name the buckets that are as the requester believes, and send the rows of the others."""
    buckets = await asyncio.to_thread(into_buckets, rows)
    present = await asyncio.to_thread(digests_of, buckets)
    equal = tuple(number for number in range(BUCKETS) if believed[number] == present[number])
    await incoming.send(SnapshotPart((), equal))
    differing = sorted(set(range(BUCKETS)).difference(equal))
    await _send_rows([row for number in differing for row in buckets[number]], incoming)


async def _received(incoming: Incoming, size: int) -> AsyncGenerator[Piece, None]:
    """Yield what the requester sends, `size` bytes of content at most, until its empty chunk."""
    left = size
    while True:
        part = await incoming.receive()
        piece = piece_of(part)
        if piece is None:
            raise Refusal(f"content was expected, not {type(part).__name__}")
        if not piece:
            return
        left -= size_of_piece(piece)
        if left < 0:
            raise Refusal("more content was sent than announced")
        yield piece
