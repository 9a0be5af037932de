"""Every message, one frozen type each. What may be said, by whom, and what answers it.

A frame carries an envelope: Request and its Reply (or Fault), Parts of a stream before the Reply, or a Notice.
The number of a message on the wire is its place in MESSAGES: append, never reorder, within one major version.
"""

from dataclasses import dataclass

from dirsync.core.chunks import Span
from dirsync.core.entry import Digest, Observed, Role
from dirsync.core.events import Event
from dirsync.core.listing import Row
from dirsync.core.paths import RelPath
from dirsync.core.reports import ContentRef, HeldName, Look, Report, Result, Step
from dirsync.core.versions import Version

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0


# --- Meeting: the first two messages of every connection -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The dialler introduces itself. `kind` is `control`, `bulk` or `client`.

    A client leaves the ids empty. `peer_id` is the replica A's archive was made with, `session` joins a bulk
    connection to its control connection, `ignore` are A's patterns, `time_ns` A's clock.
    """

    major: int
    minor: int
    kind: str
    replica_id: bytes = b""
    pair_id: bytes = b""
    peer_id: bytes = b""
    epoch: int = 0
    session: bytes = b""
    time_ns: int = 0
    capabilities: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    machine: str = ""
    root: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The listener accepts. Only now is anybody connected. `root` is device and inode of the directory.

    `seen_epoch` is the epoch in which it last served whoever says hello; 0 where it never did.
    """

    major: int
    minor: int
    role: Role
    replica_id: bytes = b""
    pair_id: bytes = b""
    epoch: int = 0
    time_ns: int = 0
    capabilities: tuple[str, ...] = ()
    machine: str = ""
    root: tuple[int, int] = (0, 0)
    seen_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Denied:
    """The listener declines, with the reason for people; it closes the connection next."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Notice: still here."""


# --- The replica contract ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """Reply: it was done; there is nothing more to say."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a stream of content."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReportsNotice:
    """Notice: what the replica reports, in order."""

    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class EventNotice:
    """Notice: an event of Server B, for A's journal."""

    event: Event


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


# --- Clients ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Answered by ListParts and ListReply."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """Part: some rows of the listing, in order."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ListReply:
    """Reply to ListRequest. `pair_id` names the pair whose listing a client remembers."""

    pair_id: bytes
    unreachable: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class LockRequest:
    """Answered by LockReply, or a Fault where the name exists nowhere."""

    path: RelPath


@dataclass(frozen=True, slots=True)
class LockReply:
    """Reply to LockRequest."""

    was_locked: bool


@dataclass(frozen=True, slots=True)
class UnlockRequest:
    """Answered by UnlockReply when the held updates are applied, or a Fault with the reason."""

    path: RelPath


@dataclass(frozen=True, slots=True)
class UnlockReply:
    """Reply to UnlockRequest: how many updates were applied."""

    applied: int


@dataclass(frozen=True, slots=True)
class LocksRequest:
    """Answered by LocksReply."""


@dataclass(frozen=True, slots=True)
class HeldUpdate:
    """One waiting update, for people. `received_ns` is when A received it."""

    origin: Role
    change: str
    size: int
    mtime_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class LockedName:
    """A locked name and its waiting updates in order. `reason` says why a drain stopped, if one did."""

    path: RelPath
    since_ns: int
    is_draining: bool
    reason: str
    updates: tuple[HeldUpdate, ...]


@dataclass(frozen=True, slots=True)
class LocksReply:
    """Reply to LocksRequest, sorted by name."""

    locks: tuple[LockedName, ...]


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Answered by StatusReply."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server at a glance. `state` is one of: ready, paused, unreachable.

    `found_by_scan` counts the changes since its start that its watcher had not hinted at.
    """

    role: Role
    state: str
    address: str
    directory: str
    files: int
    size: int
    found_by_scan: int = 0


@dataclass(frozen=True, slots=True)
class PendingPath:
    """Something that is not in sync yet, and why."""

    path: RelPath
    reason: str


@dataclass(frozen=True, slots=True)
class OpenConflict:
    """A conflict that nobody has looked at. `version` keeps what lost ("" while that is not known)."""

    path: RelPath
    winner: Role
    version: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class StatusReply:
    """Reply to StatusRequest. `pending` names at most 100 of `pending_count`, `conflicts` of `conflict_count`."""

    version: str
    is_connected: bool
    is_in_sync: bool
    servers: tuple[ServerStatus, ...]
    pending_count: int
    pending: tuple[PendingPath, ...]
    locks: tuple[LockedName, ...]
    last_error: str
    conflict_count: int = 0
    conflicts: tuple[OpenConflict, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """Answered by WaitReply. `seconds` below 0 waits for ever."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitReply:
    """Reply to WaitRequest. `reasons` says what is pending where the time was up."""

    is_in_sync: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """Answered by EventsParts and Done; with `is_following` the stream does not end. `last` below 0 means all."""

    last: int
    is_following: bool


@dataclass(frozen=True, slots=True)
class EventsPart:
    """Part: some events, in order."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class BringBackRequest:
    """Answered by RestoreReply: bring a version of `path` back as an ordinary change of the server that keeps it.

    `version` empty means the newest; `role` None means either server.
    """

    path: RelPath
    version: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """Answered by Chunks and RestoreReply: the content of a version, to be written elsewhere."""

    path: RelPath
    version: str
    role: Role | None


Message = (
    Hello
    | Welcome
    | Denied
    | Heartbeat
    | Done
    | Chunk
    | ReportsNotice
    | EventNotice
    | SnapshotRequest
    | SnapshotPart
    | LookRequest
    | LookReply
    | FetchRequest
    | FetchReply
    | SupplyRequest
    | StageRequest
    | StageReply
    | PutRequest
    | PutReply
    | ApplyRequest
    | ApplyReply
    | HoldRequest
    | UnholdRequest
    | ReleaseRequest
    | HistoryRequest
    | HistoryReply
    | RestoreRequest
    | RestoreReply
    | ListRequest
    | ListPart
    | ListReply
    | LockRequest
    | LockReply
    | UnlockRequest
    | UnlockReply
    | LocksRequest
    | LocksReply
    | StatusRequest
    | StatusReply
    | WaitRequest
    | WaitReply
    | EventsRequest
    | EventsPart
    | BringBackRequest
    | OutputRequest
    | SpanPart
    | KnowsRequest
    | KnowsReply
    | ManifestRequest
    | ManifestReply
    | LearnRequest
)


@dataclass(frozen=True, slots=True)
class Request:
    """Asks; answered under the same id."""

    id: int
    body: Message


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a stream that belongs to the request with this id, from either end."""

    id: int
    body: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers the request with this id; its stream, if any, is complete."""

    id: int
    body: Message


@dataclass(frozen=True, slots=True)
class Fault:
    """The request with this id could not be done. `code` names the error class, `text` is for people."""

    id: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The requester has lost interest in the request with this id."""

    id: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Unasked, and unanswered."""

    body: Message


Envelope = Request | Part | Reply | Fault | Cancel | Notice
