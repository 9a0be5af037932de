"""Owns what a path is: bytes, relative to a root, in normal form.

Every path from a disk, a peer or a client passes `parse_path` once; after that its type says it is safe.
Must not touch a file system: whether something stands at a path is not known here.
"""

import re
from collections.abc import Iterator
from typing import NewType

from dirsync.errors import InvalidPath
from dirsync.limits import NAME_BYTES_MAX, PATH_BYTES_MAX

RelPath = NewType("RelPath", bytes)

_NAME = rb"(?!\.{1,2}(?:/|\Z))[^/\0]{1,%d}" % NAME_BYTES_MAX
_is_normal = re.compile(rb"%b(?:/%b)*" % (_NAME, _NAME)).fullmatch

ROOT = RelPath(b"")
"""The directory itself. It is a parent, never the path of an entry."""


def parse_path(raw: bytes) -> RelPath:
    """Return `raw` as a path below a root.

    Raises InvalidPath for anything that is not in normal form: empty, absolute, with `.`, `..`, an empty
    component, a NUL, or longer than the limits.
    """
    if len(raw) > PATH_BYTES_MAX or _is_normal(raw) is None:
        raise InvalidPath(_complaint(raw))
    return RelPath(raw)


def _complaint(raw: bytes) -> str:
    if not raw or len(raw) > PATH_BYTES_MAX:
        return f"a path has 1 to {PATH_BYTES_MAX} bytes, this one has {len(raw)}"
    if b"\0" in raw:
        return "a path cannot hold a NUL byte"
    if any(len(name) > NAME_BYTES_MAX for name in raw.split(b"/")):
        return f"a name has at most {NAME_BYTES_MAX} bytes: {display(raw)}"
    return f"not a normal relative path: {display(raw)}"


def parent(path: RelPath) -> RelPath:
    """Return the directory that holds `path`; ROOT for a name at the top."""
    return RelPath(path.rpartition(b"/")[0])


def name_of(path: RelPath) -> bytes:
    """Return the last component."""
    return path.rpartition(b"/")[2]


def join(directory: RelPath, name: bytes) -> RelPath:
    """Return the path of `name` in `directory`. The caller vouches for the name (it came from a directory)."""
    return RelPath(directory + b"/" + name if directory else name)


def ancestors(path: RelPath) -> Iterator[RelPath]:
    """Yield the directories above `path`, nearest first, without ROOT."""
    above = parent(path)
    while above:
        yield above
        above = parent(above)


def is_below(path: RelPath, directory: RelPath) -> bool:
    """Return whether `path` lies inside `directory`, at any depth."""
    return not directory or path.startswith(directory + b"/")


def is_between(path: RelPath, after: RelPath | None, until: RelPath | None) -> bool:
    """Return whether `path` comes after `after` and not after `until`, by bytes; None has no such bound."""
    return (after is None or after < path) and (until is None or path <= until)


def to_text(path: bytes) -> str:
    """Return the name as text; bytes that are not UTF-8 become lone surrogates, as `os.fsdecode` makes them."""
    return path.decode("utf-8", "surrogateescape")


def from_text(text: str) -> bytes:
    """Invert `to_text`. Raises InvalidPath for surrogates that no bytes decode to."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPath(f"not a file name: {text!r}") from None


def display(path: bytes) -> str:
    """Return the name for a screen: control characters, and bytes that are not UTF-8, are escaped."""
    text = path.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
