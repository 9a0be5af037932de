"""Owns what the last listing showed: the names by index, one file per pair in the user's cache directory.

An index that a person types means what they last saw. Only names are kept: everything else is asked again.
"""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from dirsync.core.paths import RelPath, parse_path
from dirsync.errors import InvalidPath, StateError

_HEADER = b"dirsync listing 1"
_SEPARATOR = b"\0"
"""The one byte that no path holds."""


def remember(pair_id: bytes, names: Sequence[RelPath]) -> None:
    """Keep the names of a listing, replacing the listing before it as a whole.

    Raises StateError where they cannot be kept; then no older listing is left behind to be mistaken for this one.
    """
    file = _file(pair_id)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(file, _SEPARATOR.join((_HEADER, *names)))
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        raise StateError(f"the listing cannot be remembered in {file}: {error.strerror}") from None


def recall(pair_id: bytes) -> list[RelPath] | None:
    """Return the names of the remembered listing, or None where there is none that can be read."""
    try:
        header, *names = _file(pair_id).read_bytes().split(_SEPARATOR)
    except OSError:
        return None
    if header != _HEADER:
        return None
    try:
        return [parse_path(name) for name in names]
    except InvalidPath:
        return None


def _file(pair_id: bytes) -> Path:
    return platformdirs.user_cache_path("dirsync") / f"{pair_id.hex()}.listing"


def _replace(file: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".listing-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
