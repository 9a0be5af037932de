"""What can be said about the work of the servers: the event names, and the event itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dirsync.core.entry import Role
from dirsync.core.paths import RelPath, to_text

Value = str | int | float


class EventName(StrEnum):
    """Every event; what each carries stands in docs/events.md."""

    READY = "ready"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONCILING = "reconciling"
    IN_SYNC = "in_sync"
    DETECTED = "detected"
    SYNCED = "synced"
    CONFLICT = "conflict"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    QUEUED = "queued"
    APPLIED = "applied"
    PROGRESS = "progress"
    SKIPPED = "skipped"
    NOTICE = "notice"
    PAUSED = "paused"
    RESUMED = "resumed"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one server. `time_ns` is nanoseconds since 1970; names in `fields` are text."""

    time_ns: int
    role: Role
    name: EventName
    path: RelPath | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)

    def as_dict(self, time_text: str) -> dict[str, Value]:
        """Return the JSON object of the contract, keys in its order."""
        result: dict[str, Value] = {"time": time_text, "role": self.role.value, "event": self.name.value}
        if self.path is not None:
            result["path"] = to_text(self.path)
        result.update(self.fields)
        return result


Emit = Callable[[EventName, RelPath | None, Mapping[str, Value]], None]
"""Announces an event: its name, the path if it has one, and its fields."""
