"""The composite listing: one row per file or link over both directories."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dirsync.core.entry import Entry, File, Observed, Role, Symlink, mtime_of, size_of
from dirsync.core.paths import RelPath, to_text


class Standing(NamedTuple):
    """What a listing needs to know of a file or link in one replica. `mtime_ns` is nanoseconds since 1970."""

    size: int
    mtime_ns: int


class Row(NamedTuple):
    """One line of the listing; its index is its place. `servers` are those that hold the name, A first.

    Where they hold different versions, `versions` has one standing each, in that order; otherwise it is empty.
    A named tuple: there may be a hundred thousand of them, and a frozen dataclass takes four times as long to make.
    """

    path: RelPath
    size: int
    mtime_ns: int
    servers: tuple[Role, ...]
    versions: tuple[Standing, ...] = ()
    is_locked: bool = False
    queued: int = 0


Own = Mapping[RelPath, Standing | None]
"""What one replica holds other than what is agreed; None where it has nothing that is listed."""


def composite(
    agreed: Mapping[RelPath, Entry],
    own: Mapping[Role, Own],
    differing: frozenset[RelPath],
    locked: Mapping[RelPath, int],
) -> Iterator[Row]:
    """Yield the rows, sorted by name (by code point). A's version is shown where both differ.

    `agreed` is what each replica in `own` holds at every path for which `own` says nothing else; a replica that is
    not in `own` is left out. `differing` names files whose contents differ though size and time may not; `locked` maps
    a locked name to the number of its held updates.
    """
    everyone = tuple(role for role in Role if role in own)
    special = set(locked).union(*own.values())
    for path in sorted(special.union(agreed), key=to_text):
        if path in special:
            row = _special_row(path, standing_of(agreed.get(path)), own, path in differing)
            if row is None:
                continue
            if path in locked:
                row = row._replace(is_locked=True, queued=locked[path])
        else:
            entry = agreed[path]
            if type(entry) is File:
                row = Row(path, entry.size, entry.mtime_ns, everyone)
            elif isinstance(entry, Symlink):
                row = Row(path, len(entry.target), entry.mtime_ns, everyone)
            else:
                continue
        yield row


def standing_of(found: Observed) -> Standing | None:
    """Return what a listing shows of an entry; None for what has no row."""
    match found:
        case File() | Symlink():
            return Standing(size_of(found), mtime_of(found))
        case _:
            return None


def _special_row(path: RelPath, agreed: Standing | None, own: Mapping[Role, Own], is_differing: bool) -> Row | None:
    present = [(role, own[role].get(path, agreed)) for role in Role if role in own]
    holders = [(role, standing) for role, standing in present if standing is not None]
    if not holders:
        return None
    versions = tuple(standing for _, standing in holders)
    is_different = len(holders) == 2 and (is_differing or versions[0] != versions[1])
    size, mtime_ns = versions[0]
    return Row(path, size, mtime_ns, tuple(role for role, _ in holders), versions if is_different else ())
