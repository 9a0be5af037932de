"""The one parser of paths against hostile input, and names as text."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dirsync.core.paths import (
    ROOT,
    ancestors,
    display,
    from_text,
    is_below,
    join,
    name_of,
    parent,
    parse_path,
    to_text,
)
from dirsync.errors import InvalidPath
from dirsync.limits import NAME_BYTES_MAX, PATH_BYTES_MAX
from tests.support.trees import at

LONGEST_NAME = b"n" * NAME_BYTES_MAX
LONGEST_PATH = b"/".join([LONGEST_NAME] * (PATH_BYTES_MAX // (NAME_BYTES_MAX + 1)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"/",
        b"/etc/passwd",
        b"//a",
        b"a/",
        b"a//b",
        b".",
        b"..",
        b"../a",
        b"a/..",
        b"a/../b",
        b"a/../../b",
        b"./a",
        b"a/.",
        b"a/./b",
        b"\0",
        b"a\0b",
        b"a/b\0",
        LONGEST_NAME + b"n",
        b"a/" + LONGEST_NAME + b"n",
        b"a/" * (PATH_BYTES_MAX // 2) + b"a",
    ],
    ids=lambda raw: ascii(raw[:20]),
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPath):
        parse_path(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"a",
        b"a/b/c",
        b"...",
        b"..a/b..",
        b".hidden",
        b" ",
        b"-rf",
        b"~",
        b"a\nb",
        b"\\..\\a",
        b"C:",
        b"\xff\xfe",
        b"\xc0\xae\xc0\xae/a",
        "ä/😀".encode(),
        LONGEST_NAME,
        LONGEST_PATH,
    ],
    ids=lambda raw: ascii(raw[:20]),
)
def test_accepted_as_it_is(raw: bytes) -> None:
    assert parse_path(raw) == raw


def test_refusal_shows_the_path_escaped() -> None:
    with pytest.raises(InvalidPath, match=r"not a normal relative path: a/\.\./\\x1b\[2J$"):
        parse_path(b"a/../\x1b[2J")


@given(st.lists(st.sampled_from([b"a", b".", b"..", b"", b"\0", b"b c", b"\xff"]), max_size=6).map(b"/".join))
def test_what_is_accepted_stays_below_the_root(raw: bytes) -> None:
    try:
        path = parse_path(raw)
    except InvalidPath:
        assert (
            not raw
            or b"\0" in raw
            or os.path.isabs(raw)
            or os.path.normpath(raw) != raw
            or raw in (b".", b"..")
            or raw.startswith(b"../")
        )
        return
    assert os.path.normpath(os.path.join(b"/top", path)) == b"/top/" + path


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {b"/", b"\0"} & {bytes([c]) for c in name})
PATHS = st.lists(NAMES.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=5).map(b"/".join)


@given(PATHS)
def test_parts_join_to_the_whole(raw: bytes) -> None:
    path = parse_path(raw)
    assert join(parent(path), name_of(path)) == path


@given(PATHS)
def test_ancestors_are_what_it_is_below(raw: bytes) -> None:
    path = parse_path(raw)
    names = raw.split(b"/")
    assert list(ancestors(path)) == [b"/".join(names[:count]) for count in range(len(names) - 1, 0, -1)]
    assert all(is_below(path, above) for above in ancestors(path))
    assert is_below(path, ROOT)
    assert not is_below(path, path)


def test_a_longer_name_is_not_below_a_shorter() -> None:
    assert not is_below(at("abc"), at("a"))
    assert not is_below(at("a-b/c"), at("a"))
    assert is_below(at("a/b/c"), at("a"))


def test_top_level_name_lies_in_the_root() -> None:
    assert parent(at("a")) == ROOT
    assert name_of(at("a")) == b"a"
    assert join(ROOT, b"a") == b"a"
    assert list(ancestors(at("a"))) == []


@given(st.binary(max_size=40))
@example(b"\xed\xb2\x80")
def test_text_and_back(raw: bytes) -> None:
    assert from_text(to_text(raw)) == raw


@pytest.mark.parametrize("text", [chr(0xD800), "a" + chr(0xDC7F), chr(0xDFFF)], ids=ascii)
def test_text_that_no_name_has(text: str) -> None:
    with pytest.raises(InvalidPath):
        from_text(text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("äöü 😀 日本".encode(), "äöü 😀 日本"),
        (b"a\nb\tc\rd", r"a\nb\tc\rd"),
        (b"\x1b[31mred\x07", r"\x1b[31mred\x07"),
        (b"\x7f\xc2\x9b", r"\x7f\x9b"),
        (b"bad \xff\xfe", r"bad \xff\xfe"),
        ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
        ("\u2028".encode(), r"\u2028"),
        ("\U000e0001x".encode(), r"\U000e0001x"),
        (b"", ""),
    ],
)
def test_display(raw: bytes, shown: str) -> None:
    assert display(raw) == shown


@given(st.binary(max_size=40))
def test_display_is_safe_to_print(raw: bytes) -> None:
    assert display(raw).isprintable()
    display(raw).encode("utf-8")
