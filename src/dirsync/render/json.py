"""Shows events and answers as JSON for programs: one object on one line.

Output is ASCII; names that are not UTF-8 hold lone surrogates, as `os.fsdecode` makes them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from dirsync.core.entry import Role, mtime_of, size_of
from dirsync.core.events import Event
from dirsync.core.listing import Row, Standing
from dirsync.core.paths import to_text
from dirsync.core.versions import Version
from dirsync.render.times import utc_time
from dirsync.wire.client_messages import LockedName, StatusReply

_ROWS_IN_PIECE = 400


def event_json(event: Event) -> str:
    """Return the event."""
    return _line(event.as_dict(utc_time(event.time_ns)))


def listing_json(rows: Sequence[Row], unreachable: Sequence[Role], *, is_long: bool = False) -> Iterator[str]:
    """Yield the listing in pieces of one line; `is_long` adds to each file the `versions` its servers hold."""
    yield '{"files": ['
    for start in range(0, len(rows), _ROWS_IN_PIECE):
        files = _line(
            [_row(index, row, is_long) for index, row in enumerate(rows[start : start + _ROWS_IN_PIECE], start)]
        )
        yield f"{', ' if start else ''}{files[1:-1]}"
    yield f'], "unreachable": {_line(_roles(unreachable))}}}'


def locks_json(locks: Sequence[LockedName]) -> str:
    """Return the locked names with their waiting updates in order."""
    return _line({"locks": [_lock(lock) for lock in locks]})


def status_json(status: StatusReply) -> str:
    """Return both servers at a glance."""
    return _line(
        {
            "version": status.version,
            "connected": status.is_connected,
            "in_sync": status.is_in_sync,
            "servers": [
                {
                    "role": server.role.value,
                    "state": server.state,
                    "address": server.address,
                    "directory": server.directory,
                    "files": server.files,
                    "bytes": server.size,
                    "found_by_scan": server.found_by_scan,
                }
                for server in status.servers
            ],
            "pending_count": status.pending_count,
            "pending": [{"name": to_text(one.path), "reason": one.reason} for one in status.pending],
            "locks": [_lock(lock) for lock in status.locks],
            "conflict_count": status.conflict_count,
            "conflicts": [
                {
                    "name": to_text(conflict.path),
                    "winner": conflict.winner.value,
                    "kept": conflict.version,
                    "since_ns": conflict.since_ns,
                }
                for conflict in status.conflicts
            ],
            "last_error": status.last_error,
        }
    )


def history_json(versions: Sequence[Version], unreachable: Sequence[Role]) -> str:
    """Return the kept versions, newest first."""
    return _line({"versions": [_version(version) for version in versions], "unreachable": _roles(unreachable)})


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)


def _roles(roles: Iterable[Role]) -> list[str]:
    return [role.value for role in roles]


def _row(index: int, row: Row, is_long: bool) -> dict[str, object]:
    result: dict[str, object] = {
        "index": index,
        "name": to_text(row.path),
        "size": row.size,
        "mtime_ns": row.mtime_ns,
        "servers": _roles(row.servers),
        "locked": row.is_locked,
        "queued": row.queued,
    }
    if is_long:
        versions = row.versions or (Standing(row.size, row.mtime_ns),) * len(row.servers)
        result["versions"] = [
            {"server": role.value, "size": standing.size, "mtime_ns": standing.mtime_ns}
            for role, standing in zip(row.servers, versions, strict=True)
        ]
    return result


def _lock(lock: LockedName) -> dict[str, object]:
    return {
        "name": to_text(lock.path),
        "since_ns": lock.since_ns,
        "draining": lock.is_draining,
        "reason": lock.reason,
        "updates": [
            {
                "origin": update.origin.value,
                "change": update.change,
                "size": update.size,
                "mtime_ns": update.mtime_ns,
                "received_ns": update.received_ns,
            }
            for update in lock.updates
        ],
    }


def _version(version: Version) -> dict[str, object]:
    return {
        "id": version.id,
        "server": version.role.value,
        "name": to_text(version.path),
        "kept_ns": version.kept_ns,
        "size": size_of(version.entry),
        "mtime_ns": mtime_of(version.entry),
        "why": version.why.value,
    }
