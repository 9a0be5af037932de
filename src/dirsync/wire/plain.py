"""Plain values as they come out of a message: each reader returns what its type allows, or raises RemoteProtocolError.

Most are written as they are, so there are few writers.
"""

import math
from collections.abc import Mapping

from dirsync.core.entry import PERMISSION_BITS, permissions
from dirsync.core.events import Value
from dirsync.core.paths import RelPath, parse_path
from dirsync.errors import InvalidPath, LocalProtocolError, RemoteProtocolError
from dirsync.limits import PATH_BYTES_MAX

FIELDS_MAX = 64
"""Of one event."""

_INT_MAX = 2**63 - 1
_DIGEST_BYTES = 32


def unexpected(expected: str, raw: object) -> RemoteProtocolError:
    """Return the error that says so."""
    return RemoteProtocolError(f"expected {expected}, received {type(raw).__name__}")


def read_text(raw: object) -> str:
    """Read text."""
    if type(raw) is not str:
        raise unexpected("text", raw)
    return raw


def read_bytes(raw: object) -> bytes:
    """Read bytes."""
    if type(raw) is not bytes:
        raise unexpected("bytes", raw)
    return raw


def read_bool(raw: object) -> bool:
    """Read a truth value."""
    if type(raw) is not bool:
        raise unexpected("a truth value", raw)
    return raw


def read_signed(raw: object) -> int:
    """Read an integer. The format itself expresses exactly MTIME_NANOSECONDS_MIN to MTIME_NANOSECONDS_MAX."""
    if type(raw) is not int:
        raise unexpected("an integer", raw)
    return raw


def read_natural(raw: object) -> int:
    """Read a natural number."""
    if type(raw) is not int or not 0 <= raw <= _INT_MAX:
        raise unexpected("a natural number of 63 bits", raw)
    return raw


def read_mode(raw: object) -> int:
    """Read permission bits."""
    if type(raw) is not int or not 0 <= raw <= PERMISSION_BITS:
        raise unexpected("permission bits", raw)
    return permissions(raw)


def read_float(raw: object) -> float:
    """Read a finite number."""
    if type(raw) is int:
        return float(read_signed(raw))
    if type(raw) is not float or not math.isfinite(raw):
        raise unexpected("a finite number", raw)
    return raw


def read_path(raw: object) -> RelPath:
    """Read a normal relative path."""
    if type(raw) is not bytes:
        raise unexpected("a path", raw)
    try:
        return parse_path(raw)
    except InvalidPath as error:
        raise RemoteProtocolError(str(error)) from None


def read_digest(raw: object) -> bytes:
    """Read a digest of a content."""
    if type(raw) is not bytes or len(raw) != _DIGEST_BYTES:
        raise unexpected("a digest", raw)
    return raw


def read_target(raw: object) -> bytes:
    """Read the text of a link."""
    if type(raw) is not bytes or not 0 < len(raw) <= PATH_BYTES_MAX or b"\0" in raw:
        raise unexpected("the text of a link", raw)
    return raw


def write_float(value: float) -> float:
    """Write a number. Raises LocalProtocolError where it is not finite."""
    if not math.isfinite(value):
        raise LocalProtocolError(f"not a finite number: {value}")
    return value


def _read_value(raw: object) -> Value:
    if type(raw) is str or type(raw) is bool:
        return raw
    if type(raw) is int:
        if raw > _INT_MAX:
            raise unexpected("an integer of 64 bits", raw)
        return raw
    return read_float(raw)


def write_values(values: Mapping[str, Value]) -> dict[str, Value]:
    """Write the fields of an event. Raises LocalProtocolError for too many of them, or a number that is not finite."""
    if len(values) > FIELDS_MAX:
        raise LocalProtocolError(f"an event has at most {FIELDS_MAX} fields")
    return {key: write_float(value) if isinstance(value, float) else value for key, value in values.items()}


def read_values(raw: object) -> Mapping[str, Value]:
    """Read the fields of an event."""
    if type(raw) is not dict:
        raise unexpected("fields", raw)
    return {read_text(key): _read_value(value) for key, value in raw.items()}
