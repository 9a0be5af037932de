"""What a command prints for an answer, whoever prints it: the command itself, or Server A for a command that only asks.

Everything ends with a newline, or is empty.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from dirsync.core.entry import Role
from dirsync.core.listing import Row
from dirsync.core.paths import RelPath, display
from dirsync.render.json import listing_json, locks_json, status_json
from dirsync.render.tables import listing_lines, locks_lines, status_lines
from dirsync.wire.client_messages import LockedName, StatusReply

_LINES_IN_PIECE = 400


def listing_pieces(rows: Sequence[Row], unreachable: Sequence[Role], *, is_json: bool, is_long: bool) -> Iterator[str]:
    """Yield the listing piece by piece, each made in a few milliseconds, however long the whole is."""
    if is_json:
        yield from listing_json(rows, unreachable, is_long=is_long)
        yield "\n"
        return
    lines = listing_lines(rows, is_long=is_long)
    while batch := list(islice(lines, _LINES_IN_PIECE)):
        yield "\n".join(batch) + "\n"


def listing_complaints(unreachable: Sequence[Role]) -> list[str]:
    """Return what standard error says of an incomplete listing."""
    return [f"server {role.upper()} cannot be reached: what only it holds is not listed" for role in unreachable]


def locked_text(path: RelPath, *, was_locked: bool) -> str:
    """Return the answer to a lock."""
    return f"{display(path)} is locked already\n" if was_locked else f"locked {display(path)}\n"


def unlocked_text(path: RelPath, applied: int) -> str:
    """Return the answer to an unlock."""
    return f"unlocked {display(path)}: {applied} {'update' if applied == 1 else 'updates'} applied\n"


def locks_text(locks: Sequence[LockedName], *, is_json: bool) -> str:
    """Return the locks, with what is held."""
    if is_json:
        return f"{locks_json(locks)}\n"
    return "".join(f"{line}\n" for line in locks_lines(locks))


def status_text(status: StatusReply, *, is_json: bool) -> str:
    """Return both servers at a glance."""
    return f"{status_json(status)}\n" if is_json else "".join(f"{line}\n" for line in status_lines(status))
