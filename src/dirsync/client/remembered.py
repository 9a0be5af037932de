"""Owns what the last listing showed: the names by index, one file per pair in the user's cache directory.

An index that a person types means what they last saw. Only names are kept: everything else is asked again. Imports
next to nothing, as `dirsync.client.cache`.
"""

from dirsync.client.cache import cache_file, read, remove, replace
from dirsync.errors import InvalidPath, StateError

TYPE_CHECKING = False  # not from typing, which takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dirsync.core.paths import RelPath

_HEADER = b"dirsync listing 1"
_SEPARATOR = b"\0"
"""The one byte that no path holds."""


def remember(pair_id: str, names: "Sequence[bytes]") -> None:
    """Keep the names of a listing, or runs of them joined by NUL, replacing the listing before it as a whole.

    `pair_id` is in hexadecimal. Raises StateError where they cannot be kept; then no older listing is left behind to
    be mistaken for this one.
    """
    file = _file(pair_id)
    try:
        replace(file, _SEPARATOR.join((_HEADER, *names)))
    except OSError as error:
        remove(file)
        raise StateError(f"the listing cannot be remembered in {file}: {error.strerror}") from None


def recall(pair_id: str) -> "list[RelPath] | None":
    """Return the names of the remembered listing, or None where there is none that can be read."""
    from dirsync.core.paths import parse_path  # noqa: PLC0415  (not needed to remember, which has to be quick)

    content = read(_file(pair_id))
    if content is None:
        return None
    header, *names = content.split(_SEPARATOR)
    if header != _HEADER:
        return None
    try:
        return [parse_path(name) for name in names]
    except InvalidPath:
        return None


def _file(pair_id: str) -> str:
    return cache_file(f"{pair_id}.listing")
