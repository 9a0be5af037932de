"""What a client asks of Server A, and what A answers."""

from dataclasses import dataclass

from dirsync.core.entry import Role
from dirsync.core.events import Event
from dirsync.core.listing import Row
from dirsync.core.paths import RelPath


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
    """One server at a glance. `state` is one of: ready, busy (it takes long to look), paused, unreachable.

    `files` and `size` are those of its last look. `found_by_scan` counts the changes since its start that its watcher
    had not hinted at.
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
