"""Shows one event as one line for people. What is missing in an event is left out, never an error."""

import os
from collections.abc import Callable
from typing import TextIO

from dirsync.core.entry import ChangeKind, Role
from dirsync.core.events import Event, EventName, Value
from dirsync.core.paths import display, from_text
from dirsync.render.times import clock_time, duration_text, size_text

ROLE_COLOURS = {Role.A: "\x1b[36m", Role.B: "\x1b[35m"}
ALARM_COLOUR = "\x1b[31m"
NO_COLOUR = "\x1b[0m"

_GAP = "   "
_ALARMS = frozenset({EventName.ERROR, EventName.PAUSED, EventName.CONFLICT})


def wants_colour(stream: TextIO | None) -> bool:
    """Return whether a terminal shows this stream (None: closed) to somebody who has not asked for no colour."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


def event_line(event: Event, *, is_coloured: bool = False) -> str:
    """Return the line, without its end: time, server, direction, what, and the rest; names escaped."""
    if event.name is EventName.SYNCED:
        direction = f"{_text(event, 'from')} → {_text(event, 'to')}"
        word = _text(event, "change") or event.name.value
    else:
        direction, word = "", event.name.value
    parts = [f"{direction:<5}", f"{word:<8}", *(part for part in _DETAILS[event.name](event) if part)]
    head = f"{clock_time(event.time_ns)}  {event.role.upper()}  "
    line = head + _GAP.join(parts)
    if is_coloured:
        colour = ALARM_COLOUR if event.name in _ALARMS else ROLE_COLOURS[event.role]
        return f"{colour}{line.rstrip()}{NO_COLOUR}"
    return line.rstrip()


def _text(event: Event, key: str) -> str:
    value = event.fields.get(key)
    return "" if value is None else _shown(value)


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return value if value.isprintable() else display(from_text(value))
    return str(value)


def _name(event: Event) -> str:
    if event.path is None:
        return ""
    old = _text(event, "old_path")
    return f"{old} → {display(event.path)}" if old else display(event.path)


def _number(event: Event, key: str) -> float | None:
    value = event.fields.get(key)
    return None if isinstance(value, str) else value


def _size(event: Event) -> str:
    size = _number(event, "size")
    is_gone = _text(event, "change") == ChangeKind.DELETED.value
    return "" if size is None or is_gone else size_text(int(size))


def _milliseconds(event: Event) -> str:
    milliseconds = _number(event, "ms")
    return "" if milliseconds is None else duration_text(milliseconds)


def _counted(event: Event, key: str, one: str, many: str) -> str:
    count = _number(event, key)
    return "" if count is None else f"{int(count)} {one if count == 1 else many}"


def _ready(event: Event) -> list[str]:
    return [_text(event, "listen"), _text(event, "directory"), _counted(event, "files", "file", "files")]


def _meeting(event: Event) -> list[str]:
    return [_text(event, "peer"), _text(event, "reason")]


def _comparison(event: Event) -> list[str]:
    return [_counted(event, "files", "file", "files"), _milliseconds(event)]


def _detected(event: Event) -> list[str]:
    return [_name(event), _text(event, "change"), _size(event)]


def _synced(event: Event) -> list[str]:
    return [_name(event), _size(event), _milliseconds(event)]


def _conflict(event: Event) -> list[str]:
    winner, kept = _text(event, "winner"), _text(event, "kept")
    return [_name(event), f"{winner} wins" if winner else "", f"the other is kept as {kept}" if kept else ""]


def _locked(event: Event) -> list[str]:
    return [_name(event)]


def _unlocked(event: Event) -> list[str]:
    return [_name(event), _counted(event, "applied", "update applied", "updates applied")]


def _queued(event: Event) -> list[str]:
    return [_name(event), _text(event, "change"), _size(event), _counted(event, "depth", "waits", "wait")]


def _applied(event: Event) -> list[str]:
    return [_name(event), _text(event, "change"), _size(event), _counted(event, "remaining", "remains", "remain")]


def _progress(event: Event) -> list[str]:
    done, size = _number(event, "done"), _number(event, "size")
    if done is None or size is None:
        return [_name(event)]
    percent = f"{100 * done / size:.0f} %" if size > 0 else ""
    return [_name(event), f"{size_text(int(done))} of {size_text(int(size))}", percent]


def _reason(event: Event) -> list[str]:
    return [_name(event), _text(event, "reason")]


_DETAILS: dict[EventName, Callable[[Event], list[str]]] = {
    EventName.READY: _ready,
    EventName.CONNECTED: _meeting,
    EventName.DISCONNECTED: _meeting,
    EventName.RECONCILING: _comparison,
    EventName.IN_SYNC: _comparison,
    EventName.DETECTED: _detected,
    EventName.SYNCED: _synced,
    EventName.CONFLICT: _conflict,
    EventName.LOCKED: _locked,
    EventName.UNLOCKED: _unlocked,
    EventName.QUEUED: _queued,
    EventName.APPLIED: _applied,
    EventName.PROGRESS: _progress,
    EventName.SKIPPED: _reason,
    EventName.NOTICE: _reason,
    EventName.PAUSED: _reason,
    EventName.RESUMED: _reason,
    EventName.ERROR: _reason,
}
