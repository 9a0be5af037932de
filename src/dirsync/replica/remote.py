"""A replica at the far end of a pair of connections: the same contract, every call a request.

Small things travel on `control`, content of any size on `bulk`. Holds no knowledge of the tree; what it is sent is
valid message by message, and this file checks that each answer fits its question.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

from dirsync.core.chunks import ContentBytes, Manifest, Piece, Span, size_of_piece
from dirsync.core.entry import Digest, Role
from dirsync.core.events import Event
from dirsync.core.inventory import Row, digests_of, into_buckets
from dirsync.core.paths import RelPath
from dirsync.core.reports import Change, ContentAt, ContentRef, Failed, HeldName, Look, Report, Result, Step
from dirsync.core.versions import Version
from dirsync.errors import DiskError, RemoteProtocolError, StateError
from dirsync.limits import BATCH_BYTES_MAX, INVENTORY_BYTES_MAX
from dirsync.net.connection import Connection
from dirsync.net.flow import Inflow
from dirsync.replica.interface import Arrived, unheard
from dirsync.replica.pieces import parts_of, piece_of
from dirsync.replica.streams import batched
from dirsync.replica.weights import weight_of_name, weight_of_ref, weight_of_row, weight_of_step
from dirsync.wire.meeting import Chunk, Done
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import (
    ApplyReply,
    ApplyRequest,
    EventsNotice,
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
    SpanPart,
    StageReply,
    StageRequest,
    SupplyRequest,
    UnholdRequest,
)

M = TypeVar("M", bound=Message)

_BATCH_ROWS = 500
"""Rows that are as believed, handed over at once: a millisecond of work."""
_CAPTURES_MAX = 10_000
"""Numbers of captures in one message."""


class RemoteReplica:
    """A FullReplica over two connections, which the caller enters and closes.

    `tally` is told each content byte that crosses: the path of a report, a step or a ContentAt that is fetched, the
    digest of any other fetched content, and of what is supplied and put. `on_event` gets the far server's events.
    Every method raises Unreachable when its connection has ended.
    """

    def __init__(
        self,
        role: Role,
        control: Connection,
        bulk: Connection,
        tally: Callable[[bytes, int], None],
        *,
        on_event: Callable[[Event], None],
    ) -> None:
        self._role = role
        self._control = control
        self._bulk = bulk
        self._tally = tally
        self._on_event = on_event
        self._notices = Inflow()
        self._waiting = 0
        self._superseded = 0
        control.on_notice(self._take_notice)
        control.on_end(self._notices.end)

    @property
    def role(self) -> Role:
        """Which one."""
        return self._role

    async def reports(self) -> Sequence[Report]:
        """Wait for something to report and return it, in order. Raises Unreachable when nothing more will come."""
        while True:
            notice = _expect(await self._notices.next(), ReportsNotice)
            self._control.notice_consumed()
            self._waiting -= 1
            reports = notice.reports
            for report in reports:
                if isinstance(report, Change) and report.content is not None:
                    self._tally(report.path, len(report.content))
            if self._superseded > 0:
                self._superseded -= 1
                reports = tuple(report for report in reports if not isinstance(report, Change))
            if reports:
                return reports

    async def snapshot(self, believed: Iterable[Row] = ()) -> AsyncGenerator[Sequence[Row], None]:
        """Yield every entry in batches. Changes reported before are superseded, and dropped: captures come again.

        What is believed is not sent where the far replica has just that.
        """
        buckets = dict(enumerate(into_buckets(believed)))
        digests = await asyncio.to_thread(digests_of, buckets.values()) if any(buckets.values()) else ()
        listed = 0
        async with aclosing(self._control.stream(SnapshotRequest(digests), self._supersede)) as parts:
            async for part in parts:
                inventory = _expect(part, SnapshotPart)
                rows: list[Row] = []
                for number in inventory.equal:
                    if not digests or number not in buckets:
                        raise RemoteProtocolError(f"bucket {number} cannot be equal: it was not asked about")
                    rows += buckets.pop(number)
                    if len(rows) >= _BATCH_ROWS:
                        yield rows
                        rows = []
                if rows:
                    yield rows
                listed += sum(map(weight_of_row, inventory.entries))
                if listed > INVENTORY_BYTES_MAX:
                    raise RemoteProtocolError(f"the inventory lists more than {INVENTORY_BYTES_MAX} bytes of names")
                if inventory.entries:
                    yield inventory.entries

    async def look(self, is_full: bool) -> Look:
        """Have the far replica look."""
        return _expect(await self._control.request(LookRequest(is_full)), LookReply).look

    async def fetch(self, refs: Sequence[ContentRef]) -> Sequence[bytes | None]:
        """Return small contents, None where it is not that content any more."""
        contents: list[bytes | None] = []
        for batch in batched(refs, weight_of_ref, BATCH_BYTES_MAX):
            reply = _expect(await self._control.request(FetchRequest(batch)), FetchReply)
            _expect_count(reply.contents, batch)
            for ref, content in zip(batch, reply.contents, strict=True):
                if content is not None:
                    self._tally(ref.path if isinstance(ref, ContentAt) else ref.entry.digest, len(content))
            contents.extend(reply.contents)
        return contents

    async def supply(self, ref: ContentRef, offset: int) -> AsyncGenerator[ContentBytes, None]:
        """Yield the content from `offset` in chunks. Raises Refusal where it is not that content any more."""
        async with aclosing(self._pieces(ref, SupplyRequest(ref, offset))) as pieces:
            async for piece in pieces:
                if isinstance(piece, Span):
                    raise RemoteProtocolError("a range of a base was supplied, but none was named")
                yield piece

    async def differences(self, ref: ContentRef, offset: int, base: Digest) -> AsyncGenerator[Piece, None]:
        """Yield the content from `offset` as bytes and ranges of `base`. Raises Refusal as `supply`."""
        async with aclosing(self._pieces(ref, SupplyRequest(ref, offset, base))) as pieces:
            async for piece in pieces:
                yield piece

    async def _pieces(self, ref: ContentRef, request: SupplyRequest) -> AsyncGenerator[Piece, None]:
        left = ref.entry.size - request.offset
        async with aclosing(self._bulk.stream(request)) as parts:
            async for part in parts:
                piece = piece_of(part)
                if piece is None:
                    raise RemoteProtocolError(f"content was expected, not {type(part).__name__}")
                left -= size_of_piece(piece)
                if left < 0:
                    raise RemoteProtocolError("more content was supplied than there is")
                if not isinstance(piece, Span):
                    self._tally(ref.entry.digest, len(piece))
                yield piece

    async def knows(self, digest: Digest) -> bool:
        """Return whether the chunks of this content are at hand over there."""
        return _expect(await self._control.request(KnowsRequest(digest)), KnowsReply).is_known

    async def manifest(self, digest: Digest) -> Manifest | None:
        """Return the chunks of a content that is there, or was; None where they cannot be told."""
        reply = _expect(await self._bulk.request(ManifestRequest(digest)), ManifestReply)
        return Manifest.of(reply.average, reply.rows) if reply.rows else None

    async def learn(self, digest: Digest, manifest: Manifest | None) -> None:
        """Tell the chunks of a content, or to forget them."""
        manifest = manifest or Manifest(0, b"")
        _expect(await self._bulk.request(LearnRequest(digest, manifest.average, manifest.rows)), Done)

    async def stage(self, digest: Digest, size: int) -> int:
        """Return how many bytes of this content are there already."""
        have = _expect(await self._control.request(StageRequest(digest, size)), StageReply).have
        if have > size:
            raise RemoteProtocolError(f"{have} bytes are said to be there of a content of {size}")
        return have

    async def put(
        self,
        digest: Digest,
        size: int,
        offset: int,
        pieces: AsyncIterator[Piece],
        arrived: Arrived = unheard,
        base: Digest | None = None,
    ) -> bool:
        """Send content; False where it did not match its digest over there."""
        sizes: deque[int] = deque()
        done = offset

        def consumed(count: int) -> None:
            nonlocal done
            done += sum(sizes.popleft() for _ in range(min(count, len(sizes))))
            arrived(done)

        async with aclosing(self._put_parts(digest, pieces, sizes)) as parts:
            reply = await self._bulk.upload(PutRequest(digest, size, offset, base), parts, consumed)
        return _expect(reply, PutReply).is_good

    async def apply(self, steps: Sequence[Step]) -> Sequence[Result]:
        """Have the steps done in order; one result each. Where one message fails, the others tell what was done."""
        results: list[Result] = []
        for batch in batched(steps, weight_of_step, BATCH_BYTES_MAX):
            for step in batch:
                if step.content is not None:
                    self._tally(step.action.path, len(step.content))
            try:
                reply = _expect(await self._control.request(ApplyRequest(batch)), ApplyReply)
            except (StateError, DiskError) as error:
                results.extend(Failed(str(error)) for _ in batch)
                continue
            _expect_count(reply.results, batch)
            results.extend(reply.results)
        return results

    async def hold(self, names: Sequence[HeldName]) -> None:
        """Have these names captured from now on."""
        for batch in batched(names, weight_of_name, BATCH_BYTES_MAX):
            _expect(await self._control.request(HoldRequest(batch)), Done)

    async def hold_only(self, names: Sequence[HeldName], after: RelPath | None, until: RelPath | None) -> None:
        """Have these names captured, and no other after `after` up to `until`."""
        _expect(await self._control.request(HoldOnlyRequest(tuple(names), after, until)), Done)

    async def unhold(self, paths: Sequence[RelPath]) -> None:
        """Have these names captured no more."""
        for batch in batched(paths, len, BATCH_BYTES_MAX):
            _expect(await self._control.request(UnholdRequest(batch)), Done)

    async def release(self, captures: Sequence[int]) -> None:
        """Have these captures dropped."""
        for batch in batched(captures, lambda _: 1, _CAPTURES_MAX):
            _expect(await self._control.request(ReleaseRequest(batch)), Done)

    async def history(self, path: RelPath) -> Sequence[Version]:
        """Return the versions of a path that are kept there, newest first."""
        return _expect(await self._control.request(HistoryRequest(path)), HistoryReply).versions

    async def restore(self, version: str) -> Version:
        """Have a version brought back there. Raises Refusal where there is no such one."""
        return _expect(await self._control.request(RestoreRequest(version)), RestoreReply).version

    async def _put_parts(
        self, digest: Digest, pieces: AsyncIterator[Piece], sizes: deque[int]
    ) -> AsyncGenerator[Message, None]:
        async for piece in pieces:
            for part in parts_of(piece):
                sent = 0 if isinstance(part, SpanPart) else len(part.data)
                self._tally(digest, sent)
                sizes.append(part.span.size if isinstance(part, SpanPart) else sent)
                yield part
        yield Chunk(b"")

    def _take_notice(self, notice: Message) -> None:
        match notice:
            case EventsNotice():
                for event in notice.events:
                    self._on_event(event)
                self._control.notice_consumed()
            case ReportsNotice():
                self._waiting += 1
                self._notices.put(notice, is_windowed=True)
            case _:
                raise RemoteProtocolError(f"a replica does not send {type(notice).__name__} unasked")

    def _supersede(self) -> None:
        """A snapshot begins to arrive: what waits here was reported before it."""
        self._superseded = self._waiting


def _expect(message: Message | None, kind: type[M]) -> M:
    if not isinstance(message, kind):
        raise RemoteProtocolError(f"expected {kind.__name__}, received {type(message).__name__}")
    return message


def _expect_count(answers: Sequence[object], questions: Sequence[object]) -> None:
    if len(answers) != len(questions):
        raise RemoteProtocolError(f"expected {len(questions)} answers, received {len(answers)}")
