"""Every message there is, and the envelopes that carry them.

A frame carries an envelope: Request and its Reply (or Fault), Parts of a stream before the Reply, or a Notice.
The number of a message on the wire is its place in Message: append, never reorder, within one major version.
"""

from dataclasses import dataclass

from dirsync.wire.client_messages import (
    BringBackRequest,
    EventsPart,
    EventsRequest,
    ListPart,
    ListReply,
    ListRequest,
    LockReply,
    LockRequest,
    LocksReply,
    LocksRequest,
    OutputRequest,
    StatusReply,
    StatusRequest,
    UnlockReply,
    UnlockRequest,
    WaitReply,
    WaitRequest,
)
from dirsync.wire.meeting import (
    Chunk,
    Denied,
    Done,
    Heartbeat,
    Hello,
    Welcome,
)
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

Message = (
    Hello
    | Welcome
    | Denied
    | Heartbeat
    | Done
    | Chunk
    | ReportsNotice
    | EventsNotice
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
    | HoldOnlyRequest
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
