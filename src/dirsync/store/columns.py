"""How single values stand in a column, and what is checked when they come back.

A value that no dirsync can have written raises BadRow; `database` turns that into the error for people.
"""

from enum import StrEnum
from typing import TypeVar

from dirsync.core.paths import RelPath, parse_path
from dirsync.errors import InvalidPath

SQLITE_INTEGER_MAX = 2**63 - 1

Wide = int | bytes
"""A number from a file system as it is stored: an integer where 64 signed bits hold it, else big-endian bytes."""

_Member = TypeVar("_Member", bound=StrEnum)


class BadRow(ValueError):
    """A row holds what was never written: the database is damaged."""


def to_wide(number: int) -> Wide:
    """Return `number` as it is stored. Inodes are unsigned, and times can lie beyond the year 2262."""
    if -SQLITE_INTEGER_MAX - 1 <= number <= SQLITE_INTEGER_MAX:
        return number
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def from_wide(stored: Wide | None) -> int:
    """Invert `to_wide`. Raises BadRow."""
    if isinstance(stored, int):
        return stored
    if isinstance(stored, bytes) and stored:
        return int.from_bytes(stored, "big", signed=True)
    raise BadRow(f"not a number: {stored!r}")


def from_path(stored: bytes) -> RelPath:
    """Return a stored path. Raises BadRow where it is not in normal form."""
    try:
        return parse_path(stored)
    except InvalidPath as error:
        raise BadRow(str(error)) from error


def from_text(kind: type[_Member], stored: str) -> _Member:
    """Return the member of `kind` that is stored by its value. Raises BadRow."""
    try:
        return kind(stored)
    except ValueError as error:
        raise BadRow(str(error)) from error
