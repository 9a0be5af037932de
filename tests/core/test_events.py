"""The event as the contract's JSON object."""

import json

from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName
from dirsync.core.paths import parse_path
from tests.support.trees import at

TIME = "2026-11-22T14:03:05.123456Z"


def test_keys_in_the_order_of_the_contract() -> None:
    fields = {"change": "modified", "from": "b", "to": "a", "size": 1204, "ms": 4.1}
    event = Event(1, Role.A, EventName.SYNCED, at("report.txt"), fields)
    assert json.dumps(event.as_dict(TIME)) == (
        f'{{"time": "{TIME}", "role": "a", "event": "synced", "path": "report.txt", "change": "modified", '
        '"from": "b", "to": "a", "size": 1204, "ms": 4.1}'
    )


def test_no_path_no_key() -> None:
    event = Event(1, Role.B, EventName.IN_SYNC, fields={"files": 3})
    assert event.as_dict(TIME) == {"time": TIME, "role": "b", "event": "in_sync", "files": 3}


def test_name_that_is_not_utf8_is_ascii_in_json() -> None:
    event = Event(1, Role.A, EventName.DETECTED, parse_path(b"\xff"))
    assert '"path": "\\udcff"' in json.dumps(event.as_dict(TIME))


def test_fields_are_not_shared() -> None:
    one, two = Event(1, Role.A, EventName.READY), Event(1, Role.A, EventName.READY)
    assert one.fields is not two.fields


def test_names_of_the_contract() -> None:
    lines = """
        ready connected disconnected reconciling in_sync detected synced conflict locked unlocked queued applied
        progress skipped notice paused resumed error
    """
    assert {name.value for name in EventName} == set(lines.split())
