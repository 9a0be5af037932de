"""Owns messages as bytes: the only file that speaks msgpack, and the only one where a value may be of any type.

A value of a dataclass or a named tuple is the array of its fields; one of a union has its place in that union before
them; None is nil. So a field may be appended, with a default: older readers ignore it, newer ones fill it in. Decoding
believes nothing: what it returns satisfies each type and bound of `wire.messages`, or it raises RemoteProtocolError.
"""

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any

import msgpack

from dirsync.core.chunks import ContentBytes
from dirsync.core.entry import PERMISSION_BITS, Digest
from dirsync.core.paths import RelPath, parse_path
from dirsync.errors import InvalidPath, LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX, PATH_BYTES_MAX
from dirsync.wire.framing import Payload
from dirsync.wire.messages import Envelope
from dirsync.wire.raw_chunks import CHUNK_MARK, chunk_pieces, read_chunk

ITEMS_MAX = 256 * 1024
"""Of one array: more than fits into a frame in practice. msgpack reserves room for what an array claims to hold."""
FIELDS_MAX = 64
"""Of one event."""

_INT_MAX = 2**63 - 1
_DIGEST_BYTES = 32
_SIGNED = frozenset({"last"})

Write = Callable[[Any], Any]
Read = Callable[[Any], Any]
Shape = tuple[Write | None, Read]
"""How a type is written (None: as it is) and read."""


def encode(envelope: Envelope) -> bytes:
    """Return the payload of a frame. Raises LocalProtocolError for a value that the protocol cannot carry."""
    return b"".join(encode_pieces(envelope))


def encode_pieces(envelope: Envelope) -> tuple[bytes, ContentBytes]:
    """Return the payload of a frame in two pieces, so that the bytes of a large content are not copied. As `encode`."""
    try:
        if (pieces := chunk_pieces(envelope)) is not None:
            return pieces
        packed: bytes = _PACK(_WRITE(envelope))
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise LocalProtocolError(f"cannot be sent: {type(envelope).__name__}: {error}") from error
    return packed, b""


def decode(payload: Payload) -> Envelope:
    """Invert `encode`. Raises RemoteProtocolError for anything else than a valid envelope."""
    if payload[: len(CHUNK_MARK)] == CHUNK_MARK:
        return read_chunk(payload)
    try:
        raw = msgpack.unpackb(
            payload,
            use_list=True,
            unicode_errors="surrogateescape",
            max_array_len=ITEMS_MAX,
            max_map_len=FIELDS_MAX,
            max_ext_len=0,
            max_str_len=FRAME_BYTES_MAX,
            max_bin_len=FRAME_BYTES_MAX,
        )
    except ValueError as error:
        raise RemoteProtocolError(f"not a message: {error}") from error
    envelope: Envelope = _READ(raw)
    return envelope


def _bad(expected: str, raw: object) -> RemoteProtocolError:
    return RemoteProtocolError(f"expected {expected}, received {type(raw).__name__}")


# Plain values: written as they are, so there is only a reader.


def _read_text(raw: Any) -> Any:
    if type(raw) is not str:
        raise _bad("text", raw)
    return raw


def _read_bytes(raw: Any) -> Any:
    if type(raw) is not bytes:
        raise _bad("bytes", raw)
    return raw


def _read_bool(raw: Any) -> Any:
    if type(raw) is not bool:
        raise _bad("a truth value", raw)
    return raw


def _read_signed(raw: Any) -> Any:
    # The format itself expresses exactly MTIME_NANOSECONDS_MIN to MTIME_NANOSECONDS_MAX.
    if type(raw) is not int:
        raise _bad("an integer", raw)
    return raw


def _read_natural(raw: Any) -> Any:
    if type(raw) is not int or not 0 <= raw <= _INT_MAX:
        raise _bad("a natural number of 63 bits", raw)
    return raw


def _read_mode(raw: Any) -> Any:
    if type(raw) is not int or not 0 <= raw <= PERMISSION_BITS:
        raise _bad("permission bits", raw)
    return raw


def _read_float(raw: Any) -> Any:
    if type(raw) is int:
        return float(_read_signed(raw))
    if type(raw) is not float or not math.isfinite(raw):
        raise _bad("a finite number", raw)
    return raw


def _read_path(raw: Any) -> Any:
    if type(raw) is not bytes:
        raise _bad("a path", raw)
    try:
        return parse_path(raw)
    except InvalidPath as error:
        raise RemoteProtocolError(str(error)) from None


def _read_digest(raw: Any) -> Any:
    if type(raw) is not bytes or len(raw) != _DIGEST_BYTES:
        raise _bad("a digest", raw)
    return raw


def _read_target(raw: Any) -> Any:
    if type(raw) is not bytes or not 0 < len(raw) <= PATH_BYTES_MAX or b"\0" in raw:
        raise _bad("the text of a link", raw)
    return raw


def _write_float(value: float) -> float:
    if not math.isfinite(value):
        raise LocalProtocolError(f"not a finite number: {value}")
    return value


def _read_value(raw: Any) -> Any:
    kind = type(raw)
    if kind is str or kind is bool:
        return raw
    if kind is int and raw > _INT_MAX:
        raise _bad("an integer of 64 bits", raw)
    return raw if kind is int else _read_float(raw)


def _write_values(values: Mapping[str, Any]) -> dict[str, Any]:
    if len(values) > FIELDS_MAX:
        raise LocalProtocolError(f"an event has at most {FIELDS_MAX} fields")
    return {key: _write_float(value) if isinstance(value, float) else value for key, value in values.items()}


def _read_values(raw: Any) -> Any:
    if type(raw) is not dict:
        raise _bad("fields", raw)
    return {_read_text(key): _read_value(value) for key, value in raw.items()}


_BY_TYPE: dict[Any, Shape] = {
    str: (None, _read_text),
    bytes: (None, _read_bytes),
    ContentBytes: (None, _read_bytes),
    bool: (None, _read_bool),
    int: (None, _read_natural),
    float: (_write_float, _read_float),
    RelPath: (None, _read_path),
    Digest: (None, _read_digest),
}
_BY_FIELD: dict[tuple[str, Any], Shape] = {("mode", int): (None, _read_mode), ("target", bytes): (None, _read_target)}


# Composite values: closures, built once for each type.


def _shape(hint: Any, name: str = "") -> Shape:
    """Return how a value of the type `hint` travels, in a field called `name`."""
    if hint is int and (name.endswith("_ns") or name in _SIGNED):
        return None, _read_signed
    if (name, hint) in _BY_FIELD:
        return _BY_FIELD[name, hint]
    if hint in _BY_TYPE:
        return _BY_TYPE[hint]
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(typing.get_args(hint))
    if origin is tuple:
        return _array(typing.get_args(hint))
    if origin is Mapping:
        return _write_values, _read_values
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    shape = _BY_TYPE[hint] = _record(hint)
    return shape


def _enum(enum: type[StrEnum]) -> Shape:
    members = {member.value: member for member in enum}

    def read(raw: Any) -> Any:
        member = members.get(raw) if type(raw) is str else None
        if member is None:
            raise _bad(f"one of {', '.join(members)}", raw)
        return member

    # The value, not the member: packing a member, which is text with a method table of its own, is slower.
    return attrgetter("value"), read


def _array(items: tuple[Any, ...]) -> Shape:
    if len(items) == 2 and items[1] is Ellipsis:
        return _list(*_shape(items[0]))
    return _row([_shape(item) for item in items])


def _list(write_item: Write | None, read_item: Read) -> Shape:
    def write(values: Any) -> Any:
        return values if write_item is None else [write_item(value) for value in values]

    def read(raw: Any) -> Any:
        if type(raw) is not list:
            raise _bad("an array", raw)
        return tuple([read_item(item) for item in raw])

    return None if write_item is None else write, read


def _row(shapes: list[Shape]) -> Shape:
    writers = [write for write, _ in shapes]
    readers = [read for _, read in shapes]

    def write(values: Any) -> Any:
        return [value if w is None else w(value) for w, value in zip(writers, values, strict=True)]

    def read(raw: Any) -> Any:
        if type(raw) is not list or len(raw) != len(readers):
            raise _bad(f"an array of {len(readers)}", raw)
        return tuple([r(item) for r, item in zip(readers, raw, strict=True)])

    return write, read


def _union(hints: tuple[Any, ...]) -> Shape:
    """None is nil. One type beside None needs no number; several are numbered by their places."""
    choices = [hint for hint in hints if hint is not types.NoneType]
    has_none = len(choices) < len(hints)
    write, read = _shape(choices[0]) if len(choices) == 1 else _numbered(choices)
    if not has_none:
        return write, read

    def write_optional(value: Any) -> Any:
        return None if value is None else write(value)  # type: ignore[misc]

    def read_optional(raw: Any) -> Any:
        return None if raw is None else read(raw)

    return None if write is None else write_optional, read_optional


def _numbered(choices: list[Any]) -> Shape:
    shapes = [_shape(choice) for choice in choices]
    writers = {choice: (number, write) for number, (choice, (write, _)) in enumerate(zip(choices, shapes, strict=True))}
    readers = [read for _, read in shapes]

    def write(value: Any) -> Any:
        number, write_choice = writers[type(value)]
        return number, write_choice(value)  # type: ignore[misc]

    def read(raw: Any) -> Any:
        if type(raw) is not list or len(raw) != 2 or type(raw[0]) is not int or not 0 <= raw[0] < len(readers):
            raise _bad("a known kind and its fields", raw)
        return readers[raw[0]](raw[1])

    return write, read


def _record(cls: Any) -> Shape:
    hints = typing.get_type_hints(cls)
    names, required = _members(cls)
    shapes = [_shape(hints[name], name) for name in names]
    return _record_writer(names, [write for write, _ in shapes]), _record_reader(cls, required, shapes)


def _members(cls: Any) -> tuple[list[str], int]:
    """Return the names of the fields, and how many of them have no default."""
    if not is_dataclass(cls):
        return list(cls._fields), len(cls._fields) - len(cls._field_defaults)
    members = fields(cls)
    required = sum(member.default is MISSING and member.default_factory is MISSING for member in members)
    return [member.name for member in members], required


def _record_writer(names: list[str], writers: list[Write | None]) -> Write:
    if not names:
        return lambda _: ()
    special = [(place, write) for place, write in enumerate(writers) if write is not None]
    if len(names) == 1:
        get_one, write_one = attrgetter(names[0]), writers[0]
        return lambda value: (get_one(value) if write_one is None else write_one(get_one(value)),)
    get = attrgetter(*names)
    if not special:
        return get

    def write(value: Any) -> Any:
        row = list(get(value))
        for place, write_field in special:
            row[place] = write_field(row[place])
        return row

    return write


def _record_reader(cls: Any, required: int, shapes: list[Shape]) -> Read:
    readers = [read for _, read in shapes]
    count = len(readers)

    def read(raw: Any) -> Any:
        if type(raw) is not list or len(raw) < required:
            raise _bad(f"the fields of {cls.__name__}", raw)
        if len(raw) == count:
            return cls(*[r(item) for r, item in zip(readers, raw)])  # noqa: B905 (the lengths are equal)
        return cls(*[r(item) for r, item in zip(readers, raw, strict=False)])

    return read


_PACK = msgpack.Packer(unicode_errors="surrogateescape").pack
_ENVELOPE_WRITE, _READ = _shape(Envelope)
assert _ENVELOPE_WRITE is not None
_WRITE = _ENVELOPE_WRITE
