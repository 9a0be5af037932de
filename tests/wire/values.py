"""Hypothesis strategies for every value that can cross the wire, made from the types of the messages."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum

from hypothesis import strategies as st

from dirsync.core.entry import Digest
from dirsync.core.paths import RelPath

naturals = st.integers(0, 2**63 - 1)
signed = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
names = st.binary(min_size=1, max_size=12).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 47})
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
digests = st.binary(min_size=32, max_size=32)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.binary(max_size=8).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
PLAIN = {str: text, bytes: st.binary(max_size=40), bool: st.booleans(), int: naturals, float: floats}
PLAIN |= {memoryview: st.binary(max_size=40).map(memoryview)}
PLAIN |= {RelPath: paths, Digest: digests, types.NoneType: st.none()}
_BY_FIELD = {
    (int, "last"): signed,
    (int, "mode"): st.integers(0, 0o777),
    (bytes, "target"): st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target),
}


def values_of(hint, name="", plain=PLAIN):
    """Return a strategy for values of this type, in a field of this name. `plain` has those of the simple types."""
    if (hint, name) in _BY_FIELD:
        return _BY_FIELD[hint, name]
    if hint is int and name.endswith("_ns"):
        return signed
    if hint in plain:
        return plain[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values_of(choice, name, plain) for choice in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0], plain=plain), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[values_of(item, plain=plain) for item in arguments])
    if origin is Mapping:
        return st.dictionaries(text, text | signed | floats | st.booleans(), max_size=4)
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    names = [f.name for f in fields(hint)] if is_dataclass(hint) else hint._fields
    hints = typing.get_type_hints(hint)
    return st.builds(hint, **{name: values_of(hints[name], name, plain) for name in names})
