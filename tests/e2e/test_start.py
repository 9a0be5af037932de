"""Starting: what was changed while nobody watched is decided by the archive, and nothing that stands is sent again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.files import date, moment, put
from tests.e2e.servers import Pair, Said, Tree

Edit = Callable[[Path], object]


def _nothing(_: Path) -> None:
    return None


def _write(content: str, at: int) -> Edit:
    # Each name has contents of its own, lest a deletion and an addition be taken for one rename.
    return lambda path: put(path, f"{path.name}: {content}", at)


def _date(at: int) -> Edit:
    return lambda path: date(path, at)


def _bits(mode: int) -> Edit:
    return lambda path: path.chmod(mode)


def _both(*edits: Edit) -> Edit:
    def edit(path: Path) -> None:
        for each in edits:
            each(path)

    return edit


def _link(target: str) -> Edit:
    def edit(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return edit


def _directory(mode: int = 0o755) -> Edit:
    def edit(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.mkdir(mode=mode)

    return edit


def _below(name: str, edit: Edit) -> Edit:
    return lambda path: edit(path / name)


_DELETED: Edit = Path.unlink
_TREE_DELETED: Edit = shutil.rmtree
_BASE = _write("base", 0)
Expected = tuple[object, ...] | None


@dataclass(frozen=True)
class Row:
    """One path: how it began, what happened to it at either side, and what both shall hold (None: nothing)."""

    name: str
    begin: Edit
    at_a: Edit
    at_b: Edit
    expected: Expected
    kept: str | None = None
    """What the loser of a conflict held, where there is one."""
    events: int = 1
    """How many `synced` events there are for this path."""


def _file(content: str, at: int, mode: int = 0o644) -> Expected:
    return ("file", content.encode(), moment(at), mode)


ROWS = [
    Row("same", _BASE, _nothing, _nothing, _file("base", 0), events=0),
    Row("changed-a", _BASE, _write("new", 5), _nothing, _file("new", 5)),
    Row("changed-b", _BASE, _nothing, _write("new", 5), _file("new", 5)),
    Row("same-length", _BASE, _write("esab", 5), _nothing, _file("esab", 5)),
    Row("older-again", _BASE, _nothing, _write("restored", -500), _file("restored", -500)),
    Row("changed-alike", _BASE, _write("new", 5), _write("new", 5), _file("new", 5), events=0),
    Row("changed-alike-times", _BASE, _write("new", 5), _write("new", 6), _file("new", 6)),
    Row("touched-a", _BASE, _date(9), _nothing, _file("base", 9)),
    Row("touched-back", _BASE, _nothing, _date(-9), _file("base", -9)),
    Row("bits-a", _BASE, _bits(0o600), _nothing, _file("base", 0, 0o600)),
    Row("bits-a-content-b", _BASE, _bits(0o700), _write("new", 5), _file("new", 5, 0o700), events=2),
    Row("content-a-bits-b", _BASE, _write("new", 5), _bits(0o700), _file("new", 5, 0o700), events=2),
    Row("bits-both", _BASE, _bits(0o700), _bits(0o604), _file("base", 0, 0o700)),
    Row("deleted-a", _BASE, _DELETED, _nothing, None),
    Row("deleted-b", _BASE, _nothing, _DELETED, None),
    Row("deleted-both", _BASE, _DELETED, _DELETED, None, events=0),
    Row("deleted-a-edited-b", _BASE, _DELETED, _write("edit", 5), _file("edit", 5)),
    Row("edited-a-deleted-b", _BASE, _write("edit", -5), _DELETED, _file("edit", -5)),
    Row("deleted-a-touched-b", _BASE, _DELETED, _date(9), None),
    Row("bits-a-deleted-b", _BASE, _bits(0o600), _DELETED, None),
    Row("conflict-a-newer", _BASE, _write("of a", 9), _write("of b", 5), _file("of a", 9), kept="of b"),
    Row("conflict-b-newer", _BASE, _write("of a", 5), _write("of b", 9), _file("of b", 9), kept="of a"),
    Row("conflict-tie", _BASE, _write("of a", 5), _write("of b", 5), _file("of a", 5), kept="of b"),
    Row("added-a", _nothing, _BASE, _nothing, _file("base", 0)),
    Row("added-b", _nothing, _nothing, _BASE, _file("base", 0)),
    Row("added-both", _nothing, _write("of a", 5), _write("of b", 9), _file("of b", 9), kept="of a"),
    Row("link-a", _BASE, _link("same"), _nothing, ("link", b"same")),
    Row("link-changed-b", _link("x"), _nothing, _link("y"), ("link", b"y")),
    Row("link-deleted-a", _link("x"), _DELETED, _nothing, None),
    Row("file-for-link-b", _link("x"), _nothing, _both(_DELETED, _BASE), _file("base", 0)),
    Row("directory-a-edit-b", _BASE, _directory(), _write("edit", 5), ("directory", 0o755), kept="edit"),
    Row("edit-a-directory-b", _BASE, _write("edit", 5), _directory(), ("directory", 0o755), kept="edit"),
    Row("directory-for-file-a", _BASE, _directory(), _nothing, ("directory", 0o755)),
    Row("file-for-directory-b", _directory(), _nothing, _both(Path.rmdir, _BASE), _file("base", 0)),
    Row("directory-added-b", _nothing, _nothing, _directory(0o700), ("directory", 0o700)),
    Row("directory-deleted-a", _directory(), Path.rmdir, _nothing, None),
    Row("directory-bits-a", _directory(), _bits(0o711), _nothing, ("directory", 0o711)),
    Row("tree-deleted-b", _below("d/f", _write("tree-deleted-b", 0)), _nothing, _TREE_DELETED, None),
    Row("tree-deleted-a-added-b", _below("f", _BASE), _TREE_DELETED, _below("g", _BASE), ("directory", 0o755)),
]


def _offline(pair: Pair) -> None:
    for row in ROWS:
        row.at_a(pair.a / row.name)
        row.at_b(pair.b / row.name)


def _content_of(pair: Pair, name: str, version: object) -> bytes:
    output = pair.home / "restored"
    pair.command("dirsync", "restore", name, "--version", str(version), "--output", output)
    return output.read_bytes()


def test_each_row_of_the_decision_table(live: Pair) -> None:
    for row in ROWS:
        row.begin(live.a / row.name)
    live.settle()
    live.stop()
    _offline(live)
    live.start("b", "a")
    tree = live.settle()
    for row in ROWS:
        name = row.name.encode()
        assert tree.get(name) == _named(row), row.name
        synced = live.server_a.events("synced", path=row.name)
        assert len(synced) == row.events, (row.name, synced)
        conflicts = live.server_a.events("conflict", path=row.name)
        assert len(conflicts) == (row.kept is not None), (row.name, conflicts)
        if row.kept is not None:
            assert _content_of(live, row.name, conflicts[0]["kept"]).decode() == f"{row.name}: {row.kept}"
            assert conflicts[0]["winner"] == _winner(row, tree), (row.name, conflicts)
    assert b"tree-deleted-a-added-b/g" in tree
    assert b"tree-deleted-a-added-b/f" not in tree
    assert not live.server_a.events("error"), live.server_a.events("error")


def _named(row: Row) -> Expected:
    match row.expected:
        case ("file", bytes() as content, *rest):
            return ("file", row.name.encode() + b": " + content, *rest)
        case _:
            return row.expected


def _winner(row: Row, tree: Tree) -> str:
    """Return who had what stands there now, from what was edited."""
    of_b = "of b" in str(tree[row.name.encode()]) or row.name == "edit-a-directory-b"
    return "b" if of_b else "a"


def test_a_start_without_changes_says_and_sends_nothing(live: Pair) -> None:
    for number in range(50):
        put(live.a / f"d{number % 3}" / str(number), f"content {number}", number)
    live.settle()
    live.stop()
    live.start("a", "b")
    live.settle()
    for server in (live.server_a, live.server_b):
        noisy = [event for event in server.said if event["event"] in {"synced", "detected", "conflict", "error"}]
        assert not noisy, noisy[:3]


def test_first_run_is_the_union_and_the_newest_wins(pair: Pair) -> None:
    put(pair.a / "only-a", "a", 1)
    put(pair.b / "only-b", "b", 2)
    put(pair.b / "deep/er/only-b", "b", 2)
    for root in (pair.a, pair.b):
        put(root / "equal", "equal", 3)
        put(root / "d/equal", "equal too" * 20_000, 3)
    put(pair.a / "newer-a", "of a", 9)
    put(pair.b / "newer-a", "of b", 5)
    put(pair.a / "newer-b", "of a", 5)
    put(pair.b / "newer-b", "of b", 9)
    put(pair.a / "times", "same" * 50_000, 5)
    put(pair.b / "times", "same" * 50_000, 9)
    pair.start("a", "b")
    tree = pair.settle()
    assert tree[b"newer-a"] == _file("of a", 9)
    assert tree[b"newer-b"] == _file("of b", 9)
    assert tree[b"times"] == _file("same" * 50_000, 9)
    assert {b"only-a", b"only-b", b"deep/er/only-b", b"equal", b"d/equal"} <= tree.keys()
    synced = {str(event["path"]): event for event in pair.server_a.events("synced")}
    assert set(synced) == {"only-a", "only-b", "deep", "deep/er", "deep/er/only-b", "newer-a", "newer-b", "times"}
    assert (synced["times"]["change"], synced["times"]["sent"]) == ("metadata", 0)
    assert {str(event["path"]) for event in pair.server_a.events("conflict")} == {"newer-a", "newer-b"}


@pytest.mark.parametrize("first", ["a", "b"])
def test_servers_start_in_any_order_and_take_up_what_was_changed_before_the_other_came(pair: Pair, first: str) -> None:
    second = "b" if first == "a" else "a"
    pair.start(first)
    put(getattr(pair, first) / "early", "early", 1)
    pair.running[first].wait_event("detected", path="early")
    put(getattr(pair, second) / "late", "late", 2)
    pair.start(second)
    assert pair.settle().keys() == {b"early", b"late"}


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_killed_server_takes_up_what_happened_meanwhile(live: Pair, role: str) -> None:
    for number in range(20):
        put(live.a / f"f{number}", f"{number}", number)
    live.settle()
    live.kill(role)
    own, far = (live.a, live.b) if role == "a" else (live.b, live.a)
    put(own / "f0", "changed at the dead one", 100)
    put(far / "f1", "changed at the living one", 100)
    (own / "f2").unlink()
    (far / "f3").unlink()
    put(own / "new/f", "new", 100)
    (far / "f4").rename(far / "renamed")
    live.start(role)
    tree = live.settle()
    assert tree[b"f0"] == _file("changed at the dead one", 100)
    assert tree[b"f1"] == _file("changed at the living one", 100)
    assert tree[b"renamed"] == _file("4", 4)
    assert tree.keys() == {b"f0", b"f1", *(b"f%d" % n for n in range(5, 20)), b"new", b"new/f", b"renamed"}
    living = live.server_b if role == "a" else live.server_a
    living.wait_event("disconnected")
    living.wait_event("connected", count=2)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_lost_state_directory_is_a_first_run_and_deletes_nothing(live: Pair, role: str) -> None:
    put(live.a / "deleted-here", "x", 1)
    put(live.a / "deleted-there", "x", 1)
    put(live.a / "stays", "x", 1)
    live.settle()
    live.stop()
    shutil.rmtree(live.state / role)
    (live.a / "deleted-here").unlink()
    (live.b / "deleted-there").unlink()
    live.start("a", "b")
    assert live.settle().keys() == {b"deleted-here", b"deleted-there", b"stays"}
    assert not live.server_a.events("synced", change="deleted")
    assert not live.server_a.events("synced", path="stays")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_root_emptied_while_stopped_is_restored_from_the_other_side(live: Pair, role: str) -> None:
    for number in range(5):
        put(live.a / "d" / f"f{number}", f"{number}", number)
    tree = live.settle()
    live.stop()
    root: Path = getattr(live, role)
    shutil.rmtree(root / "d")
    live.start("a", "b")
    assert live.settle() == tree
    server = live.running[role]
    assert [event["event"] for event in server.said if event["event"] in {"paused", "resumed"}] == ["paused", "resumed"]
    assert str(root) in str(server.events("paused")[0]["reason"])
    # And it is an ordinary root again: what is deleted now is deleted.
    (root / "d" / "f0").unlink()
    assert b"d/f0" not in live.settle()


def test_a_root_replaced_while_stopped_is_no_wish_to_delete(live: Pair) -> None:
    put(live.a / "kept", "kept", 1)
    live.settle()
    live.stop()
    live.b.rename(live.home / "away")
    live.b.mkdir()
    put(live.b / "other", "other", 2)
    live.start("b", "a")
    assert live.settle().keys() == {b"kept", b"other"}
    assert live.server_b.events("paused")


def _names(pair: Pair) -> set[object]:
    return {row["name"] for row in pair.rows()}


def test_ignored_names_are_neither_listed_nor_synchronised(pair: Pair) -> None:
    for name in (".DS_Store", "d/Thumbs.db", "desktop.ini", "d/carried"):
        put(pair.a / name, "x", 1)
    pair.is_aside = lambda path: path.rpartition(b"/")[2] in {b".DS_Store", b"Thumbs.db", b"desktop.ini"}
    pair.start("a", "b")
    put(pair.b / "Thumbs.db", "live too", 1)
    pair.settle()
    assert {p.name for p in pair.b.rglob("*")} == {"d", "carried", "Thumbs.db"}
    assert not (pair.a / "Thumbs.db").exists()
    assert _names(pair) == {"d/carried"}
    assert {event["path"] for event in pair.server_a.events("synced")} == {"d", "d/carried"}
    status = json.loads(pair.command("dirsync", "status", "--json").stdout)
    assert "DS_Store" not in str(status)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_newly_ignored_name_is_no_deletion_and_one_no_longer_ignored_is_a_union(pair: Pair, order: str) -> None:
    pair.start("b", "a")
    for name in ("x.log", "logs/f", "logs/sub/f", "build", "keep/build/f", "carried"):
        put(pair.a / name, "base", 1)
    pair.settle()
    pair.stop()
    before = pair.config.read_text()
    pair.config.write_text(before + '[sync]\nignore = ["*.log", "/logs/", "build/"]\n')
    put(pair.b / "x.log", "only at b", 5)
    (pair.a / "logs/f").unlink()
    pair.is_aside = lambda path: path in {b"x.log", b"logs/f"}
    pair.start(*order)
    assert (pair.a / "x.log").read_text() == "base"
    assert (pair.b / "x.log").read_text() == "only at b"
    assert not (pair.a / "logs/f").exists()
    for name in ("logs/f", "logs/sub/f", "keep/build/f", "build"):
        assert (pair.b / name).read_text() == "base", name
    for name in ("logs/sub/f", "keep/build/f", "build"):
        assert (pair.a / name).read_text() == "base", name
    assert _names(pair) == {"build", "carried"}
    said: list[Said] = pair.server_a.events("synced")
    assert not said, said
    pair.stop()
    pair.config.write_text(before)
    pair.is_aside = lambda path: False
    pair.start(*order)
    tree = pair.settle()
    assert tree[b"x.log"] == _file("only at b", 5)
    assert tree[b"logs/f"] == _file("base", 1)
    assert not pair.server_a.events("synced", change="deleted")
