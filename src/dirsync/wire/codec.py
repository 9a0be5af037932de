"""Owns messages as bytes: the only file that speaks msgpack, and the only one where a value may be of any type.

A value of a dataclass or a named tuple is the array of its fields; one of a union has its place in that union before
them; None is nil. So a field may be appended, with a default: older readers ignore it, newer ones fill it in. At the
end of an array what has its default is left out, and what a file keeps by an action is nil in what shall be. Decoding
believes nothing: what it returns satisfies each type and bound of `wire.messages`, or it raises RemoteProtocolError.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any

import msgpack

from dirsync.core.chunks import ContentBytes
from dirsync.core.entry import Digest, Entry, File
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.errors import LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX
from dirsync.wire.framing import Payload
from dirsync.wire.messages import Envelope
from dirsync.wire.plain import (
    FIELDS_MAX,
    read_bool,
    read_bytes,
    read_digest,
    read_float,
    read_mode,
    read_natural,
    read_path,
    read_signed,
    read_target,
    read_text,
    read_values,
    unexpected,
    write_float,
    write_values,
)
from dirsync.wire.raw_chunks import CHUNK_MARK, chunk_pieces, read_chunk

ITEMS_MAX = 256 * 1024
"""Of one array: more than fits into a frame in practice. msgpack reserves room for what an array claims to hold."""
_SIGNED = frozenset({"last"})
_FILE = typing.get_args(Entry).index(File)

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


_BY_TYPE: dict[Any, Shape] = {
    str: (None, read_text),
    bytes: (None, read_bytes),
    ContentBytes: (None, read_bytes),
    bool: (None, read_bool),
    int: (None, read_natural),
    float: (write_float, read_float),
    RelPath: (None, read_path),
    Digest: (None, read_digest),
}
_BY_FIELD: dict[tuple[str, Any], Shape] = {("mode", int): (None, read_mode), ("target", bytes): (None, read_target)}


# Composite values: closures, built once for each type.


def _shape(hint: Any, name: str = "") -> Shape:
    """Return how a value of the type `hint` travels, in a field called `name`."""
    if hint is int and (name.endswith("_ns") or name in _SIGNED):
        return None, read_signed
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
        return write_values, read_values
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    shape = _BY_TYPE[hint] = _action(*_record(hint)) if hint is Action else _record(hint)
    return shape


def _enum(enum: type[StrEnum]) -> Shape:
    members = {member.value: member for member in enum}

    def read(raw: Any) -> Any:
        member = members.get(raw) if type(raw) is str else None
        if member is None:
            raise unexpected(f"one of {', '.join(members)}", raw)
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
            raise unexpected("an array", raw)
        return tuple([read_item(item) for item in raw])

    return None if write_item is None else write, read


def _row(shapes: list[Shape]) -> Shape:
    writers = [write for write, _ in shapes]
    readers = [read for _, read in shapes]

    def write(values: Any) -> Any:
        return [value if w is None else w(value) for w, value in zip(writers, values, strict=True)]

    def read(raw: Any) -> Any:
        if type(raw) is not list or len(raw) != len(readers):
            raise unexpected(f"an array of {len(readers)}", raw)
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
            raise unexpected("a known kind and its fields", raw)
        return readers[raw[0]](raw[1])

    return write, read


def _record(cls: Any) -> Shape:
    hints = typing.get_type_hints(cls)
    defaults = _defaults(cls)
    shapes = [_shape(hints[name], name) for name in defaults]
    required = sum(default is MISSING for default in defaults.values())
    return _record_writer(defaults, [write for write, _ in shapes]), _record_reader(cls, required, shapes)


def _defaults(cls: Any) -> dict[str, Any]:
    """Return the fields in their order, each with its default, or MISSING."""
    if not is_dataclass(cls):
        return {name: cls._field_defaults.get(name, MISSING) for name in cls._fields}
    return {
        member.name: member.default if member.default_factory is MISSING else member.default_factory()
        for member in fields(cls)
    }


def _record_writer(defaults: dict[str, Any], writers: list[Write | None]) -> Write:
    names = list(defaults)
    if not names:
        return lambda _: ()
    special = [(place, write) for place, write in enumerate(writers) if write is not None]
    optional = [(place, default) for place, default in enumerate(defaults.values()) if default is not MISSING][::-1]
    get = attrgetter(*names) if len(names) > 1 else _getter_of_one(names[0])
    if not special and not optional:
        return get

    def write(value: Any) -> Any:
        row = list(get(value))
        for place, default in optional:
            if row[place] != default:
                break
            del row[place]
        for place, write_field in special:
            if place < len(row):
                row[place] = write_field(row[place])
        return row

    return write


def _getter_of_one(name: str) -> Callable[[Any], Any]:
    get = attrgetter(name)
    return lambda value: (get(value),)


def _action(write_record: Write | None, read_record: Read) -> Shape:
    """Have what an intended file has in common with the expected one cross once: a touch does not repeat a digest."""
    names = list(_defaults(Action))
    expected, intended = names.index("expected"), names.index("intended")

    def write(action: Any) -> Any:
        row = write_record(action)  # type: ignore[misc]
        if type(action.expected) is File and type(action.intended) is File:
            (_, before), (number, after) = row[expected], row[intended]
            row[intended] = number, [None if new == old else new for new, old in zip(after, before, strict=True)]
        return row

    def read(raw: Any) -> Any:
        if type(raw) is list and len(raw) > intended:
            before, after = _fields_of_file(raw[expected]), _fields_of_file(raw[intended])
            if before is not None and after is not None:
                after[:] = [old if new is None else new for new, old in zip(after, before, strict=False)]
        return read_record(raw)

    return write, read


def _fields_of_file(raw: Any) -> list[Any] | None:
    """Return the fields of an entry that has the number of a file; they were not checked."""
    is_file = type(raw) is list and len(raw) == 2 and raw[0] == _FILE and type(raw[1]) is list
    return raw[1] if is_file else None


def _record_reader(cls: Any, required: int, shapes: list[Shape]) -> Read:
    readers = [read for _, read in shapes]
    count = len(readers)

    def read(raw: Any) -> Any:
        if type(raw) is not list or len(raw) < required:
            raise unexpected(f"the fields of {cls.__name__}", raw)
        if len(raw) == count:
            return cls(*[r(item) for r, item in zip(readers, raw)])  # noqa: B905 (the lengths are equal)
        return cls(*[r(item) for r, item in zip(readers, raw, strict=False)])

    return read


_PACK = msgpack.Packer(unicode_errors="surrogateescape").pack
_ENVELOPE_WRITE, _READ = _shape(Envelope)
assert _ENVELOPE_WRITE is not None
_WRITE = _ENVELOPE_WRITE
