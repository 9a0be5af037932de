"""The composite listing: one row per file or link over both directories."""

from collections.abc import Mapping
from dataclasses import dataclass

from dirsync.core.entry import Role
from dirsync.core.paths import RelPath, to_text


@dataclass(frozen=True, slots=True)
class Standing:
    """What a listing needs to know of a file or link in one replica. `mtime_ns` is nanoseconds since 1970."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the listing. `versions` has one standing per server that holds the name, A first.

    `is_different` says that the servers hold different versions.
    """

    index: int
    path: RelPath
    size: int
    mtime_ns: int
    servers: tuple[Role, ...]
    versions: tuple[Standing, ...]
    is_different: bool
    is_locked: bool
    queued: int


def composite(
    a: Mapping[RelPath, Standing],
    b: Mapping[RelPath, Standing],
    differing: frozenset[RelPath],
    locked: Mapping[RelPath, int],
) -> list[Row]:
    """Merge both inventories, sorted by name (by code point), indexed from 0. A's version is shown where both differ.

    `differing` names files whose contents differ though size and time may not; `locked` maps a locked name to the
    number of its held updates.
    """
    rows = []
    for index, path in enumerate(sorted(a.keys() | b.keys(), key=to_text)):
        found = [(role, files[path]) for role, files in ((Role.A, a), (Role.B, b)) if path in files]
        shown = found[0][1]
        rows.append(
            Row(
                index,
                path,
                shown.size,
                shown.mtime_ns,
                tuple(role for role, _ in found),
                tuple(standing for _, standing in found),
                len(found) == 2 and (found[0][1] != found[1][1] or path in differing),
                path in locked,
                locked.get(path, 0),
            )
        )
    return rows
