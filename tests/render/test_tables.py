import json
import time
from dataclasses import replace

import pytest

from dirsync.core.entry import Digest, File, Role
from dirsync.core.listing import Row, Standing, composite
from dirsync.core.paths import RelPath
from dirsync.core.versions import Version, Why
from dirsync.render.json import history_json, listing_json, locks_json, status_json
from dirsync.render.tables import history_lines, listing_lines, locks_lines, status_lines
from dirsync.wire.client_messages import HeldUpdate, LockedName, OpenConflict, PendingPath, ServerStatus, StatusReply

T = 1_795_356_185 * 10**9
LOCK = LockedName(
    RelPath(b"x\t1"),
    T,
    False,
    "",
    (HeldUpdate(Role.B, "modified", 12, T, T + 10**9), HeldUpdate(Role.A, "deleted", 0, 0, T + 2 * 10**9)),
)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def listed(
    a: dict[RelPath, Standing], b: dict[RelPath, Standing], locked: dict[RelPath, int] | None = None
) -> list[Row]:
    return list(composite({}, {Role.A: a, Role.B: b}, frozenset(), locked or {}))


def rows(locked: dict[RelPath, int] | None = None) -> list[Row]:
    a = {RelPath(b"b.txt"): Standing(1204, T), RelPath(b"\xff\n"): Standing(0, -(10**9))}
    b = {RelPath(b"b.txt"): Standing(7, T + 10**9), RelPath(b"a/deep.txt"): Standing(5, T)}
    return listed(a, b, locked)


def test_a_listing_without_locks_has_four_columns() -> None:
    assert list(listing_lines(rows())) == [
        "0     5  2026-11-22 14:03:05  a/deep.txt",
        "1  1204  2026-11-22 14:03:05  b.txt",
        "2     0  1969-12-31 23:59:59  \\xff\\n",
    ]


def test_the_lock_column_stands_before_the_name() -> None:
    assert list(listing_lines(rows({RelPath(b"b.txt"): 2, RelPath(b"a/deep.txt"): 0}))) == [
        "0     5  2026-11-22 14:03:05  locked    a/deep.txt",
        "1  1204  2026-11-22 14:03:05  locked+2  b.txt",
        "2     0  1969-12-31 23:59:59            \\xff\\n",
    ]


def test_a_long_listing_says_who_holds_what() -> None:
    assert list(listing_lines(rows(), is_long=True)) == [
        "0     5  2026-11-22 14:03:05  b    a/deep.txt",
        "1  1204  2026-11-22 14:03:05  a    b.txt",
        "1     7  2026-11-22 14:03:06  b    b.txt",
        "2     0  1969-12-31 23:59:59  a    \\xff\\n",
    ]
    same = {RelPath(b"x"): Standing(1, T)}
    assert list(listing_lines(listed(same, same), is_long=True)) == ["0  1  2026-11-22 14:03:05  a,b  x"]


def test_an_empty_listing_is_nothing() -> None:
    assert list(listing_lines([])) == []


def test_indexes_are_aligned() -> None:
    many = listed({RelPath(b"%02d" % n): Standing(n, T) for n in range(11)}, {})
    assert [line[:2] for line in listing_lines(many)] == [f"{n:>2}" for n in range(11)]


def test_the_listing_for_programs() -> None:
    found = json.loads("".join(listing_json(rows({RelPath(b"b.txt"): 2}), [Role.B])))
    assert found == {
        "files": [
            {
                "index": 0,
                "name": "a/deep.txt",
                "size": 5,
                "mtime_ns": T,
                "servers": ["b"],
                "locked": False,
                "queued": 0,
            },
            {
                "index": 1,
                "name": "b.txt",
                "size": 1204,
                "mtime_ns": T,
                "servers": ["a", "b"],
                "locked": True,
                "queued": 2,
            },
            {
                "index": 2,
                "name": "\udcff\n",
                "size": 0,
                "mtime_ns": -(10**9),
                "servers": ["a"],
                "locked": False,
                "queued": 0,
            },
        ],
        "unreachable": ["b"],
    }
    assert "".join(listing_json(rows(), [])).isascii()
    assert json.loads("".join(listing_json(rows(), [], is_long=True)))["files"][1]["versions"] == [
        {"server": "a", "size": 1204, "mtime_ns": T},
        {"server": "b", "size": 7, "mtime_ns": T + 10**9},
    ]


def test_locks_show_their_updates_in_order() -> None:
    assert locks_lines([LOCK]) == [
        "x\\t1  locked since 2026-11-22 14:03:05  2 updates held",
        "  1  b  modified  12  received 2026-11-22 14:03:06",
        "  2  a  deleted   0  received 2026-11-22 14:03:07",
    ]
    stopped = LockedName(RelPath(b"y"), T, True, "no\nroom", ())
    assert locks_lines([stopped]) == [
        "y  locked since 2026-11-22 14:03:05  0 updates held, being applied, stopped: no\\nroom"
    ]
    found = json.loads(locks_json([LOCK]))["locks"][0]
    assert (found["name"], found["since_ns"], found["draining"]) == ("x\t1", T, False)
    assert [update["origin"] for update in found["updates"]] == ["b", "a"]


def status(**changed: object) -> StatusReply:
    servers = (
        ServerStatus(Role.A, "ready", "127.0.0.1:7401", "/srv/a", 12, 2048),
        ServerStatus(Role.B, "unreachable", "b:1", "/srv/b", 1, 5),
    )
    values: dict[str, object] = {
        "version": "1",
        "is_connected": True,
        "is_in_sync": True,
        "servers": servers,
        "pending_count": 0,
        "pending": (),
        "locks": (),
        "last_error": "",
    }
    return StatusReply(**(values | changed))  # type: ignore[arg-type]


def test_status_at_a_glance() -> None:
    assert status_lines(status()) == [
        "A  ready        127.0.0.1:7401  12 files  2.0 KiB  /srv/a",
        "B  unreachable  b:1               1 file      5 B  /srv/b",
        "connected, in sync",
    ]


def test_status_says_what_only_scans_found() -> None:
    servers = [replace(server, found_by_scan=count) for server, count in zip(status().servers, (1, 0), strict=True)]
    shown = status(servers=tuple(servers))
    assert status_lines(shown)[3:] == ["server A  1 change found only by scanning"]
    assert [server["found_by_scan"] for server in json.loads(status_json(shown))["servers"]] == [1, 0]


def test_status_names_conflicts() -> None:
    conflicts = (OpenConflict(RelPath(b"x\n"), Role.A, "b7", T), OpenConflict(RelPath(b"y"), Role.B, "", T))
    shown = status(conflict_count=3, conflicts=conflicts)
    assert status_lines(shown)[3:] == [
        "conflict  x\\n  a won, the other is kept as b7",
        "conflict  y  b won, the other is kept",
        "conflict  and 1 more",
    ]
    found = json.loads(status_json(shown))
    assert found["conflict_count"] == 3
    assert found["conflicts"][0] == {"name": "x\n", "winner": "a", "kept": "b7", "since_ns": T}


def test_status_says_whether_there_is_anything_to_do() -> None:
    assert status_lines(status(is_in_sync=False))[2:] == ["connected, being looked at"]
    assert status_lines(status(is_in_sync=False, pending_count=2))[2] == "connected, 2 pending"
    assert status_lines(status(is_in_sync=False, is_connected=False))[2:] == ["not connected, 0 pending"]


def test_status_says_what_is_wrong() -> None:
    pending = (PendingPath(RelPath(b"x"), "it cannot be read"),)
    busy = status(
        is_connected=False, is_in_sync=False, pending_count=3, pending=pending, locks=(LOCK,), last_error="no room"
    )
    assert status_lines(busy)[2:] == [
        "not connected, 3 pending",
        "pending  x  it cannot be read",
        "pending  and 2 more",
        "locked  x\\t1  2 updates held",
        "last error  no room",
    ]
    found = json.loads(status_json(busy))
    assert (found["connected"], found["in_sync"], found["pending_count"]) == (False, False, 3)
    assert found["pending"] == [{"name": "x", "reason": "it cannot be read"}]
    assert found["servers"][0] == {
        "role": "a",
        "state": "ready",
        "address": "127.0.0.1:7401",
        "directory": "/srv/a",
        "files": 12,
        "bytes": 2048,
        "found_by_scan": 0,
    }


def test_kept_versions() -> None:
    entry = File(Digest(bytes(32)), 1204, T, 0o644)
    kept = [
        Version("b17", Role.B, RelPath(b"x"), entry, T, Why.CONFLICT),
        Version("a2", Role.A, RelPath(b"x"), File(Digest(bytes(32)), 3, T, 0o644), T, Why.DELETED),
    ]
    assert history_lines(kept) == [
        "b17  b  2026-11-22 14:03:05  1204  conflict",
        "a2   a  2026-11-22 14:03:05     3  deleted",
    ]
    found = json.loads(history_json(kept, [Role.B]))
    assert found["unreachable"] == ["b"]
    assert found["versions"][0] == {
        "id": "b17",
        "server": "b",
        "name": "x",
        "kept_ns": T,
        "size": 1204,
        "mtime_ns": T,
        "why": "conflict",
    }
