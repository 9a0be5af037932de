"""Owns what can stand at a path, and what counts as the same.

An entry is a value: File, Directory or Symlink; absence is None. Untracked and Problem are what a replica
reports where it cannot or will not carry what stands there; neither ever means "deleted".
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType

Digest = NewType("Digest", bytes)
"""BLAKE3, 32 bytes, of a file's whole content."""

PERMISSION_BITS = 0o777
"""What of a mode travels. setuid, setgid and sticky are neither sent nor taken."""
_PERMISSIONS = tuple(range(PERMISSION_BITS + 1))


def permissions(mode: int) -> int:
    """Return the permission bits of a mode; for equal ones the same number, 32 bytes less for each file."""
    return _PERMISSIONS[mode & PERMISSION_BITS]


class Role(StrEnum):
    """The two replicas, always named in this order."""

    A = "a"
    B = "b"

    # Equal to its text, so hashed as it: what an enum has of its own is a call into Python for each look-up.
    __hash__ = str.__hash__

    @property
    def other(self) -> "Role":
        """Return the far one."""
        return Role.B if self is Role.A else Role.A


class File(NamedTuple):
    """A regular file. `mtime_ns` is nanoseconds since 1970, `mode` the permission bits.

    A named tuple: of these there are several for each file, and they are made in half the time and compared in a third.
    """

    digest: Digest
    size: int
    mtime_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory carries its permission bits only."""

    mode: int


@dataclass(frozen=True, slots=True)
class Symlink:
    """A link carries its text only; its time is for listings and for the newest-wins rule, never compared."""

    target: bytes
    mtime_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Untracked:
    """Something dirsync does not carry (FIFO, socket, device), with the reason for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be read, or not yet; it waits, with the reason for people."""

    reason: str


Entry = File | Directory | Symlink
Observed = File | Directory | Symlink | Untracked | Problem | None


class ChangeKind(StrEnum):
    """How a change is called in events."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    METADATA = "metadata"
    RENAMED = "renamed"


def same_content(one: Observed, two: Observed) -> bool:
    """Return whether both hold the same, times and permission bits aside."""
    if isinstance(one, File) and isinstance(two, File):
        return one.digest == two.digest
    if isinstance(one, Directory) and isinstance(two, Directory):
        return True
    return one == two


def change_kind(old: Entry | None, new: Entry | None) -> ChangeKind:
    """Name the step from `old` to `new`, which differ."""
    if old is None:
        return ChangeKind.ADDED
    if new is None:
        return ChangeKind.DELETED
    return ChangeKind.METADATA if same_content(old, new) else ChangeKind.MODIFIED


def size_of(entry: Entry | None) -> int:
    """Return the bytes a listing shows: a file's content, a link's text, else 0."""
    match entry:
        case File():
            return entry.size
        case Symlink():
            return len(entry.target)
        case _:
            return 0


def mtime_of(entry: Entry | None) -> int:
    """Return the modification time in nanoseconds where an entry has one, else 0."""
    return 0 if entry is None or isinstance(entry, Directory) else entry.mtime_ns
