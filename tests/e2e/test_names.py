"""Any name that a file system takes arrives as it is, from either side, and is shown without doing harm."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.files import moment
from tests.e2e.servers import Pair

NAMES = [
    b"plain",
    b" leading space",
    b"trailing space ",
    b"-leading-dash",
    b"--help",
    b"...",
    b".hidden",
    b"~",
    b"new\nline",
    b"tab\tand\x1b[31mcolour\x07",
    b"\x01\x7f",
    b"quote\"s'and`back\\slash",
    b"$(reboot) %s {} * ? [a] !",
    b"c:colon|pipe<less>more",
    b"\xff\xfe not utf-8",
    b"half \xc3",
    b"\xed\xa0\x80 surrogate",
    "naïve".encode(),
    "nai\u0308ve".encode(),
    "日本語 🗂 \u202e rtl".encode(),
    b"CON",
    b"Case",
    b"case",
    b"n" * 255,
    "ü".encode() * 127,
    b".dirsync-not-ours",
    b"file~",
    b".x.swp",
    b"4913",
]
MTIME_NS = moment(3)


def _put(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(MTIME_NS, MTIME_NS))


def _roots(pair: Pair, role: str) -> tuple[bytes, bytes]:
    roots = (os.fsencode(pair.a), os.fsencode(pair.b))
    return roots if role == "a" else roots[::-1]


@pytest.mark.parametrize("role", ["a", "b"])
def test_any_name_arrives_changes_and_goes(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    for name in NAMES:
        _put(os.path.join(near, name), name + b" as a file")
        directory = os.path.join(near, b"d-" + name)[: len(near) + 1 + 255]
        os.mkdir(directory)
        _put(os.path.join(directory, name), name + b" in a directory")
        os.symlink(name, os.path.join(near, b"l-" + name)[: len(near) + 1 + 255])
    tree = both.settle()
    for name in NAMES:
        assert tree[name] == ("file", name + b" as a file", MTIME_NS, 0o644), name
        assert tree[(b"d-" + name)[:255] + b"/" + name][1] == name + b" in a directory", name
        assert tree[(b"l-" + name)[:255]] == ("link", name), name
    for name in NAMES:
        _put(os.path.join(far, name), name + b" changed")
        os.unlink(os.path.join(far, (b"d-" + name)[:255], name))
        os.rename(os.path.join(far, (b"l-" + name)[:255]), os.path.join(far, (b"m-" + name)[:255]))
    tree = both.settle()
    for name in NAMES:
        assert tree[name][1] == name + b" changed", name
        assert (b"d-" + name)[:255] + b"/" + name not in tree, name
        assert tree[(b"m-" + name)[:255]] == ("link", name), name
    assert len(tree) == 3 * len(NAMES)
    assert not both.server_a.events("error") + both.server_b.events("error")


def test_a_listing_shows_any_name_in_one_line_of_plain_text(both: Pair) -> None:
    near, _ = _roots(both, "b")
    for name in NAMES:
        _put(os.path.join(near, name), b"x")
    both.settle()
    listing = both.command("lab3").stdout
    lines = listing.splitlines()
    assert len(lines) == len(NAMES) == listing.count("\n")
    assert not [line for line in lines if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)]
    rows = json.loads(both.command("lab3", "ls", "--json").stdout)["files"]
    names = [str(row["name"]) for row in rows]
    assert names == sorted(names)
    assert {os.fsencode(name) for name in names} == set(NAMES)


def test_names_that_are_locked_and_restored_by_name(both: Pair) -> None:
    near, _ = _roots(both, "a")
    name = b"\xff -x \n"
    _put(os.path.join(near, name), b"first")
    both.settle()
    both.lab3("lock", b"./" + name if name.startswith(b"-") else name)
    both.lab3("unlock", name)
    _put(os.path.join(near, name), b"second")
    both.settle()
    both.command("dirsync", "restore", name)
    assert both.settle()[name][1] == b"first"


@pytest.mark.parametrize("role", ["a", "b"])
def test_paths_beyond_what_programs_can_name(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    component = b"deep-" * 40
    _make_deep(near, component, 30)
    both.command("dirsync", "wait", "--timeout", "40")
    assert _read_deep(far, component, 30) == b"at the bottom"


def _make_deep(root: bytes, component: bytes, depth: int) -> None:
    """Make a chain whose whole path is longer than PATH_MAX, one step at a time."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(component, dir_fd=fd)
        below = os.open(component, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open(b"f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(file, b"at the bottom")
    os.close(file)
    os.close(fd)


def _read_deep(root: bytes, component: bytes, depth: int) -> bytes:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        below = os.open(component, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open(b"f", os.O_RDONLY, dir_fd=fd)
    content = os.read(file, 100)
    os.close(file)
    os.close(fd)
    return content


def test_a_name_of_another_case_is_another_file_where_the_file_system_says_so(both: Pair) -> None:
    near, _ = _roots(both, "a")
    _put(os.path.join(near, b"name"), b"lower")
    _put(os.path.join(near, b"NAME"), b"upper")
    if Path(both.a, "name").read_bytes() == b"upper":
        pytest.skip("this file system takes both for one")
    os.rename(os.path.join(near, b"name"), os.path.join(near, b"Name"))
    tree = both.settle()
    assert {path: entry[1] for path, entry in tree.items()} == {b"Name": b"lower", b"NAME": b"upper"}
