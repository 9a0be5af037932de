"""What Server A asks of Server B's replica, and what B answers and reports: the replica contract as messages."""

from dataclasses import dataclass

from dirsync.core.chunks import Span
from dirsync.core.entry import Digest, Observed, Role
from dirsync.core.events import Event
from dirsync.core.paths import RelPath
from dirsync.core.reports import ContentRef, HeldName, Look, Report, Result, Step
from dirsync.core.versions import Version


@dataclass(frozen=True, slots=True)
class ReportsNotice:
    """Notice: what the replica reports, in order."""

    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class EventsNotice:
    """Notice: events of Server B in their order, for A's journal."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """Answered by SnapshotParts and Done. `digests` are of what the requester believes, by bucket; none: send all."""

    digests: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Part: some entries of the snapshot, or the buckets that are just as the requester believes."""

    entries: tuple[tuple[RelPath, Observed], ...]
    equal: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LookRequest:
    """Answered by LookReply."""

    is_full: bool


@dataclass(frozen=True, slots=True)
class LookReply:
    """Reply to LookRequest."""

    look: Look


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Answered by FetchReply."""

    refs: tuple[ContentRef, ...]


@dataclass(frozen=True, slots=True)
class FetchReply:
    """Reply to FetchRequest: one content each, in order; None where it is not that content any more."""

    contents: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class SpanPart:
    """Part of a stream of content: the next bytes are a range of the base that both ends know of."""

    span: Span


@dataclass(frozen=True, slots=True)
class SupplyRequest:
    """Answered by Chunks and Done; with `base`, by SpanParts too."""

    ref: ContentRef
    offset: int
    base: Digest | None = None


@dataclass(frozen=True, slots=True)
class StageRequest:
    """Answered by StageReply."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class StageReply:
    """Reply to StageRequest: how many bytes are here already."""

    have: int


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Followed by Chunks from the requester (with `base`, SpanParts too), an empty one last; answered by PutReply."""

    digest: Digest
    size: int
    offset: int
    base: Digest | None = None


@dataclass(frozen=True, slots=True)
class PutReply:
    """Reply to PutRequest: whether the content matched its digest and is durable."""

    is_good: bool


@dataclass(frozen=True, slots=True)
class KnowsRequest:
    """Asks whether the chunks of this content are at hand. Answered by KnowsReply."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class KnowsReply:
    """Reply to KnowsRequest."""

    is_known: bool


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """Asks for the chunks of this content. Answered by ManifestReply."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class ManifestReply:
    """Reply to ManifestRequest: a manifest, its rows empty where there is none."""

    average: int
    rows: bytes


@dataclass(frozen=True, slots=True)
class LearnRequest:
    """Tells the chunks of a content; none: forget them. Answered by Done."""

    digest: Digest
    average: int
    rows: bytes


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """Answered by ApplyReply."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class ApplyReply:
    """Reply to ApplyRequest: one result each, in order."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Answered by Done."""

    names: tuple[HeldName, ...]


@dataclass(frozen=True, slots=True)
class HoldOnlyRequest:
    """Hold these, and no other path after `after` (None: the first) up to `until` (the last). Answered by Done."""

    names: tuple[HeldName, ...]
    after: RelPath | None
    until: RelPath | None


@dataclass(frozen=True, slots=True)
class UnholdRequest:
    """Answered by Done."""

    paths: tuple[RelPath, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """Answered by Done."""

    captures: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Answered by HistoryReply: of this replica from A, of both from a client."""

    path: RelPath


@dataclass(frozen=True, slots=True)
class HistoryReply:
    """Reply to HistoryRequest, newest first. `unreachable` names servers that could not be asked."""

    versions: tuple[Version, ...]
    unreachable: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Answered by RestoreReply."""

    version: str


@dataclass(frozen=True, slots=True)
class RestoreReply:
    """Reply to RestoreRequest, BringBackRequest and OutputRequest: the version that was brought back.

    `unreachable` names servers that could not be asked, though what they keep might have been meant.
    """

    version: Version
    unreachable: tuple[Role, ...] = ()
