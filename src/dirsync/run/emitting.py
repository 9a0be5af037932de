"""Where events get their time and their server, and reach everybody who wants them."""

import time
from collections.abc import Callable, Mapping

from dirsync.core.entry import Role
from dirsync.core.events import Emit, Event, EventName, Value
from dirsync.core.paths import RelPath

Sink = Callable[[Event], None]


def make_emit(role: Role, *sinks: Sink) -> Emit:
    """Return the function by which the parts of one server say what happens."""

    def emit(name: EventName, path: RelPath | None, fields: Mapping[str, Value]) -> None:
        event = Event(time.time_ns(), role, name, path, fields)
        for sink in sinks:
            sink(event)

    return emit
