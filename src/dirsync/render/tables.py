"""Shows a client's answers as text: listing, locks, status, kept versions. Names are escaped, columns aligned."""

from collections.abc import Iterator, Sequence

from dirsync.core.entry import Role, size_of
from dirsync.core.listing import Row
from dirsync.core.paths import display
from dirsync.core.versions import Version
from dirsync.render.times import LocalTimes, local_time, size_text
from dirsync.wire.client_messages import HeldUpdate, LockedName, OpenConflict, StatusReply

_GAP = "  "


def listing_lines(rows: Sequence[Row], *, is_long: bool = False) -> Iterator[str]:
    """Yield one line per row: index, size, time, a lock column if anything is locked, name.

    `is_long` adds a column with the servers that hold what the line shows, and a line for each other version.
    """
    index_width = len(str(len(rows) - 1))
    size_width = len(str(max(_sizes(rows, is_long), default=0)))
    lock_width = max((len(_lock_word(row)) for row in rows if row.is_locked), default=0)
    line = _GAP.join([f"%{index_width}d", f"%{size_width}d", "%s", "%s%s%s"])
    times = LocalTimes()
    lock = holders = ""
    for index, row in enumerate(rows):
        if lock_width:
            lock = f"{_lock_word(row):<{lock_width}}{_GAP}"
        for size, mtime_ns, servers in _shown_versions(row) if is_long else ((row.size, row.mtime_ns, ""),):
            if is_long:
                holders = f"{servers:<3}{_GAP}"
            yield line % (index, size, times.text(mtime_ns), lock, holders, display(row.path))


def locks_lines(locks: Sequence[LockedName]) -> list[str]:
    """Return a line per locked name and, indented below it, a line per waiting update in order."""
    lines = []
    for lock in locks:
        lines.append(f"{display(lock.path)}{_GAP}locked since {local_time(lock.since_ns)}{_GAP}{_lock_state(lock)}")
        lines.extend(_update_line(number, update) for number, update in enumerate(lock.updates, 1))
    return lines


def status_lines(status: StatusReply) -> list[str]:
    """Return both servers, whether they are in sync, what is pending, locks, conflicts and the last error."""
    files = [_count(server.files, "file") for server in status.servers]
    sizes = [size_text(server.size) for server in status.servers]
    columns = [[server.state, server.address] for server in status.servers]
    widths = [max((len(row[i]) for row in columns), default=0) for i in (0, 1)]
    lines = [
        f"{server.role.upper()}{_GAP}{server.state:<{widths[0]}}{_GAP}{server.address:<{widths[1]}}{_GAP}"
        f"{count:>{max(map(len, files))}}{_GAP}{size:>{max(map(len, sizes))}}{_GAP}{escaped(server.directory)}"
        for server, count, size in zip(status.servers, files, sizes, strict=True)
    ]
    lines.append(f"{'connected' if status.is_connected else 'not connected'}, {_agreement(status)}")
    lines.extend(f"pending{_GAP}{display(one.path)}{_GAP}{escaped(one.reason)}" for one in status.pending)
    if status.pending_count > len(status.pending) > 0:
        lines.append(f"pending{_GAP}and {status.pending_count - len(status.pending)} more")
    lines.extend(f"locked{_GAP}{display(lock.path)}{_GAP}{_lock_state(lock)}" for lock in status.locks)
    lines.extend(_conflict_line(conflict) for conflict in status.conflicts)
    if status.conflict_count > len(status.conflicts) > 0:
        lines.append(f"conflict{_GAP}and {status.conflict_count - len(status.conflicts)} more")
    lines.extend(
        f"server {server.role.upper()}{_GAP}{_count(server.found_by_scan, 'change')} found only by scanning"
        for server in status.servers
        if server.found_by_scan
    )
    if status.last_error:
        lines.append(f"last error{_GAP}{escaped(status.last_error)}")
    return lines


def _agreement(status: StatusReply) -> str:
    if status.is_in_sync:
        return "in sync"
    is_unknown = status.is_connected and not status.pending_count
    return "being looked at" if is_unknown else f"{status.pending_count} pending"


def history_lines(versions: Sequence[Version]) -> list[str]:
    """Return a line per kept version: id, server, when it was kept, size, why."""
    id_width = max((len(version.id) for version in versions), default=0)
    size_width = max((len(str(size_of(version.entry))) for version in versions), default=0)
    return [
        f"{version.id:<{id_width}}{_GAP}{version.role}{_GAP}{local_time(version.kept_ns)}{_GAP}"
        f"{size_of(version.entry):>{size_width}}{_GAP}{version.why}"
        for version in versions
    ]


def escaped(text: str) -> str:
    """Return a sentence from a server as one printable line."""
    return display(text.encode("utf-8", "surrogateescape"))


def _lock_word(row: Row) -> str:
    if not row.is_locked:
        return ""
    return f"locked+{row.queued}" if row.queued else "locked"


def _sizes(rows: Sequence[Row], is_long: bool) -> Iterator[int]:
    for row in rows:
        yield row.size
        if is_long:
            yield from [standing.size for standing in row.versions]


def _shown_versions(row: Row) -> list[tuple[int, int, str]]:
    if row.versions:
        return [
            (standing.size, standing.mtime_ns, role.value)
            for role, standing in zip(row.servers, row.versions, strict=True)
        ]
    return [(row.size, row.mtime_ns, ",".join(row.servers))]


def _conflict_line(conflict: OpenConflict) -> str:
    kept = f"the other is kept as {conflict.version}" if conflict.version else "the other is kept"
    return f"conflict{_GAP}{display(conflict.path)}{_GAP}{conflict.winner} won, {kept}"


def _lock_state(lock: LockedName) -> str:
    words = [f"{_count(len(lock.updates), 'update')} held"]
    if lock.is_draining:
        words.append("being applied")
    if lock.reason:
        words.append(f"stopped: {escaped(lock.reason)}")
    return ", ".join(words)


def _update_line(number: int, update: HeldUpdate) -> str:
    origin = Role(update.origin)
    return (
        f"{_GAP}{number}{_GAP}{origin}{_GAP}{update.change:<8}{_GAP}{update.size}{_GAP}"
        f"received {local_time(update.received_ns)}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
