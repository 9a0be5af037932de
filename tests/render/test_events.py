import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName, Value
from dirsync.core.paths import RelPath
from dirsync.render.json import event_json
from dirsync.render.text import event_line

TIME = 1_795_356_185_123_456_789
NAME = RelPath(b"report.txt")


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def line(name: EventName, role: Role = Role.A, path: bytes | None = NAME, **fields: Value) -> str:
    return event_line(Event(TIME, role, name, None if path is None else RelPath(path), fields))


def test_the_line_of_a_change() -> None:
    fields: dict[str, Value] = {"change": "modified", "from": "b", "to": "a", "size": 1204, "ms": 4.1}
    event = Event(TIME, Role.A, EventName.SYNCED, NAME, fields)
    assert event_line(event) == "14:03:05.123  A  b → a   modified   report.txt   1.2 KiB   4 ms"


CASES = [
    (
        line(EventName.READY, path=None, listen="127.0.0.1:7401", directory="/srv/a", files=1),
        "A          ready      127.0.0.1:7401   /srv/a   1 file",
    ),
    (line(EventName.CONNECTED, path=None, peer="b"), "A          connected   b"),
    (line(EventName.DISCONNECTED, path=None, peer="b", reason="gone"), "A          disconnected   b   gone"),
    (line(EventName.RECONCILING, path=None, files=12), "A          reconciling   12 files"),
    (line(EventName.IN_SYNC, path=None, files=12, ms=1310.0), "A          in_sync    12 files   1.3 s"),
    (
        line(EventName.DETECTED, Role.B, change="added", size=5),
        "B          detected   report.txt   added   5 B",
    ),
    (
        line(EventName.SYNCED, change="renamed", old_path="old\n.txt", **{"from": "b", "to": "a"}),
        "A  b → a   renamed    old\\n.txt → report.txt",
    ),
    (
        line(EventName.CONFLICT, winner="a", kept="b17"),
        "A          conflict   report.txt   a wins   the other is kept as b17",
    ),
    (line(EventName.LOCKED), "A          locked     report.txt"),
    (line(EventName.UNLOCKED, applied=2), "A          unlocked   report.txt   2 updates applied"),
    (
        line(EventName.QUEUED, change="modified", size=2048, depth=1),
        "A          queued     report.txt   modified   2.0 KiB   1 waits",
    ),
    (
        line(EventName.APPLIED, change="deleted", size=0, remaining=0),
        "A          applied    report.txt   deleted   0 remain",
    ),
    (
        line(EventName.PROGRESS, done=1024, size=4096),
        "A          progress   report.txt   1.0 KiB of 4.0 KiB   25 %",
    ),
    (line(EventName.SKIPPED, reason="a FIFO"), "A          skipped    report.txt   a FIFO"),
    (line(EventName.NOTICE, path=None, reason="clocks\x1b[2J differ"), "A          notice     clocks\\x1b[2J differ"),
    (line(EventName.PAUSED, path=None, reason="gone"), "A          paused     gone"),
    (line(EventName.RESUMED, path=None, reason="back"), "A          resumed    back"),
    (line(EventName.ERROR, path=b"\xff", reason="no room"), "A          error      \\xff   no room"),
]


@pytest.mark.parametrize(("shown", "expected"), CASES)
def test_the_line_of_every_event(shown: str, expected: str) -> None:
    assert shown.partition("  ")[2] == expected


def test_no_event_is_without_a_case() -> None:
    assert {expected.split()[1] for _, expected in CASES} - {"b"} == {
        name.value for name in EventName if name is not EventName.SYNCED
    }


values = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.sampled_from(["change", "size", "ms", "from", "to", "reason", "depth", "done", "old_path", "winner", "files"])


@given(
    st.builds(
        Event,
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from(Role),
        st.sampled_from(EventName),
        st.none() | st.binary(min_size=1),
        st.dictionaries(keys, values),
    )
)
def test_any_event_is_one_line_and_one_object(event: Event) -> None:
    shown = event_line(event)
    assert shown.isprintable()
    found = json.loads(event_json(event))
    assert found["event"] == event.name.value
    assert event_json(event).isascii()
    if event.path is not None:
        assert os.fsencode(found["path"]) == event.path


def test_the_object_of_the_contract() -> None:
    fields: dict[str, Value] = {"change": "modified", "from": "b", "to": "a", "size": 1204, "ms": 4.1}
    assert event_json(Event(TIME, Role.A, EventName.SYNCED, NAME, fields)) == (
        '{"time": "2026-11-22T14:03:05.123456Z", "role": "a", "event": "synced", "path": "report.txt", '
        '"change": "modified", "from": "b", "to": "a", "size": 1204, "ms": 4.1}'
    )


def test_colour_is_by_server_and_only_when_asked_for() -> None:
    a, b = (Event(TIME, role, EventName.LOCKED, NAME) for role in Role)
    assert "\x1b" not in event_line(a)
    assert event_line(a, is_coloured=True).startswith("\x1b[36m14:03")
    assert event_line(b, is_coloured=True).startswith("\x1b[35m14:03")
    assert event_line(b, is_coloured=True).endswith("\x1b[0m")
