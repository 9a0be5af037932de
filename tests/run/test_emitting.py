"""An event gets its time and its server once, and reaches everybody."""

import time

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.run.emitting import make_emit
from tests.support.trees import at


def test_every_sink_gets_the_same_event():
    one, two = [], []
    before = time.time_ns()
    make_emit(Role.B, one.append, two.append)(EventName.DETECTED, at("x"), {"size": 1})
    (event,) = one
    assert two == [event]
    assert (event.role, event.name, event.path, dict(event.fields)) == (
        Role.B,
        EventName.DETECTED,
        at("x"),
        {"size": 1},
    )
    assert before <= event.time_ns <= time.time_ns()
