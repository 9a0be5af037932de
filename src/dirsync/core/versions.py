"""What is said about a kept version: content that was replaced or deleted and can be brought back."""

from dataclasses import dataclass
from enum import StrEnum

from dirsync.core.entry import Entry, Role
from dirsync.core.paths import RelPath


class Why(StrEnum):
    """Why a version was kept."""

    REPLACED = "replaced"
    DELETED = "deleted"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Version:
    """One kept version. `id` is unique in the pair: the server's letter and a number, as in `a17`."""

    id: str
    role: Role
    path: RelPath
    entry: Entry
    kept_ns: int
    why: Why
