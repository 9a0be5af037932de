"""While both servers run: every kind of change, either way, once each, and silence afterwards."""

import os
import random
import shutil
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.files import LONG_AGO_NS, date, moment, put
from tests.e2e.servers import Pair, Said, Server, Tree, tree_of, wait_until

MIB = 1024 * 1024


def _roots(pair: Pair, role: str) -> tuple[Path, Path]:
    return (pair.a, pair.b) if role == "a" else (pair.b, pair.a)


def _move_in(pair: Pair, make: Callable[[Path], object], target: Path) -> None:
    """Make something outside and move it in, so that it appears in one step."""
    outside = pair.home / "outside"
    make(outside)
    outside.rename(target)


def _change(event: Said) -> tuple[object, object]:
    return event["path"], event["change"]


@pytest.mark.parametrize("role", ["a", "b"])
def test_each_kind_of_change_is_detected_and_synchronised_once(live: Pair, role: str) -> None:
    near, _ = _roots(live, role)
    begin = {
        "modified": lambda p: put(p, "old", 1),
        "deleted": lambda p: put(p, "deleted", 1),
        "renamed": lambda p: put(p, "renamed", 1),
        "chmod": lambda p: put(p, "chmod", 1),
        "touch": lambda p: put(p, "touch", 1),
        "link": lambda p: p.symlink_to("old"),
        "empty": lambda p: p.mkdir(),
        "bits": lambda p: p.mkdir(),
        "gone-link": lambda p: p.symlink_to("x"),
    }
    for name, make in begin.items():
        make(near / name)
    live.settle()
    detected_before = len(live.running[role].events("detected"))
    synced_before = len(live.server_a.events("synced"))
    _move_in(live, lambda p: put(p, "added", 1, 0o640), near / "added")
    _move_in(live, lambda p: put(p, "", 1), near / "added-empty")
    _move_in(live, lambda p: put(p, "new", 1), near / "modified")
    (near / "deleted").unlink()
    (near / "renamed").rename(near / "renamed-to")
    (near / "chmod").chmod(0o600)
    date(near / "touch", 7)
    _move_in(live, lambda p: p.symlink_to("new"), near / "link")
    (near / "dangling").symlink_to("nothing/there")
    (near / "to-directory").symlink_to("bits")
    (near / "empty").rmdir()
    (near / "bits").chmod(0o711)
    (near / "gone-link").unlink()
    (near / "made").mkdir()
    tree = live.settle()
    assert tree[b"touch"] == ("file", b"touch", moment(7), 0o644)
    assert tree[b"chmod"] == ("file", b"chmod", moment(1), 0o600)
    assert tree[b"link"] == ("link", b"new")
    expected = {
        ("added", "added"),
        ("added-empty", "added"),
        ("modified", "modified"),
        ("deleted", "deleted"),
        ("chmod", "metadata"),
        ("touch", "metadata"),
        ("link", "modified"),
        ("dangling", "added"),
        ("to-directory", "added"),
        ("empty", "deleted"),
        ("bits", "metadata"),
        ("gone-link", "deleted"),
        ("made", "added"),
    }
    detected = Counter(_change(e) for e in live.running[role].events("detected")[detected_before:])
    assert detected == Counter(expected | {("renamed", "deleted"), ("renamed-to", "added")})
    synced = Counter(_change(e) for e in live.server_a.events("synced")[synced_before:])
    assert synced == Counter(expected | {("renamed-to", "renamed")})
    assert not live.server_a.events("error") + live.server_a.events("conflict")
    assert not live.running["b" if role == "a" else "a"].events("detected"), "an echo"


@pytest.mark.parametrize("role", ["a", "b"])
def test_afterwards_both_fall_silent(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    for number in range(30):
        _move_in(live, lambda p, n=number: put(p, f"{n}", n), near / f"f{number}")
    live.settle()
    for number in range(10):
        (near / f"f{number}").unlink()
        (far / f"f{10 + number}").chmod(0o600)
        (near / f"f{20 + number}").rename(near / f"g{number}")
    live.settle()
    counts = [(len(server.events("detected")), len(server.events("synced"))) for server in live.running.values()]
    assert sum(synced for _, synced in counts) == 60
    assert sum(detected for detected, _ in counts) == 70
    total = [len(server.said) for server in live.running.values()]
    live.settle()
    live.settle()
    assert [len(server.said) for server in live.running.values()] == total


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_rename_and_a_copy_cost_no_content(live: Pair, role: str) -> None:
    near, _ = _roots(live, role)
    content = os.urandom(300_000)
    _move_in(live, lambda p: put(p, content, 1), near / "large")
    _move_in(live, lambda p: put(p, "small", 1), near / "small")
    live.settle()
    sent = {e["path"]: e["sent"] for e in live.server_a.events("synced")}
    assert sent == {"large": 300_000, "small": 5}
    (near / "large").rename(near / "large-2")
    (near / "small").rename(near / "small-2")
    live.settle()
    for name in ("large", "small"):
        (said,) = live.server_a.events("synced", path=f"{name}-2")
        assert (said["change"], said["old_path"], said["sent"]) == ("renamed", name, 0)
    for name in ("large", "small"):
        _move_in(live, lambda p, n=name: shutil.copyfile(near / f"{n}-2", p), near / f"{name}-3")
        date(near / f"{name}-3", 9)
    tree = live.settle()
    assert tree[b"large-3"] == ("file", content, moment(9), 0o644)
    for name in ("large", "small"):
        said_of_copy = live.server_a.events("synced", path=f"{name}-3")
        assert [e["sent"] for e in said_of_copy] == [0] * len(said_of_copy), said_of_copy
        assert said_of_copy[0]["change"] == "added"


def _plant(root: Path, directories: int, files: int) -> None:
    for directory in range(directories):
        for file in range(files):
            put(root / f"d{directory}" / "deep" / f"f{file}", f"{directory}/{file}", file)
    (root / "empty").mkdir()
    (root / "link").symlink_to("d0")


@pytest.mark.parametrize("role", ["a", "b"])
def test_an_edit_of_a_large_file_sends_the_edit(live: Pair, role: str) -> None:
    near, _ = _roots(live, role)
    content = random.Random(role).randbytes(2 * MIB)
    _move_in(live, lambda p: p.write_bytes(content), near / "large")
    live.settle()
    edited = content[:MIB] + b"inserted" + content[MIB:]
    _move_in(live, lambda p: p.write_bytes(edited), near / "large")
    said = live.server_a.wait_event("synced", path="large", change="modified")
    assert 0 < int(str(said["sent"])) < MIB // 4
    live.settle()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_tree_moved_in_renamed_and_removed(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    _move_in(live, lambda p: _plant(p, 5, 20), near / "tree")
    tree = live.settle()
    assert len(tree) == 1 + 5 * 2 + 100 + 2
    (near / "tree").rename(near / "moved")
    renamed = live.settle()
    assert renamed == {path.replace(b"tree", b"moved", 1): entry for path, entry in tree.items()}
    said = live.server_a.events("synced")[len(tree) :]
    assert sum(int(str(e["sent"])) for e in said) == 0, "content was sent for a renamed directory"
    # The other side takes over: nothing there is bound to where it came from.
    (far / "moved").rename(far / "again")
    assert len(live.settle()) == len(tree)
    (near / "again").rename(live.home / "taken-out")
    assert not live.settle()
    (live.home / "taken-out").rename(far / "back")
    assert len(live.settle()) == len(tree)
    shutil.rmtree(near / "back")
    assert not live.settle()


def test_two_thousand_files_on_each_side_at_once(both: Pair) -> None:
    def write(root: Path, name: str) -> None:
        for number in range(2000):
            put(root / name / f"{number % 20}" / f"{number}", f"{name} {number}\n" * 20)

    writers = [threading.Thread(target=write, args=args) for args in ((both.a, "of-a"), (both.b, "of-b"))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(both.settle()) == 4000 + 2 * 21
    assert not both.server_a.events("error") + both.server_a.events("conflict")


@pytest.mark.parametrize("role", ["a", "b"])
def test_one_file_overwritten_many_times(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    for number in range(200):
        (near / "f").write_text(f"{number:04}" * 50)
    assert both.settle()[b"f"][1] == b"0199" * 50
    for number in range(200):
        (near / "new").write_text(f"{number:04}" * 50)
        (near / "new").replace(near / "f")
    assert both.settle()[b"f"][1] == b"0199" * 50
    assert {path.name for path in far.iterdir()} == {"f"}
    assert not both.server_a.events("conflict") + both.server_a.events("error")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_file_becomes_a_directory_and_a_link_and_a_file_again(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    path = near / "x"
    put(path, "file", 1)
    both.settle()
    path.unlink()
    put(path / "sub/f", "in a directory", 1)
    assert both.settle().keys() == {b"x", b"x/sub", b"x/sub/f"}
    shutil.rmtree(path)
    path.symlink_to("elsewhere")
    assert both.settle() == {b"x": ("link", b"elsewhere")}
    path.unlink()
    path.mkdir()
    assert both.settle() == {b"x": ("directory", 0o755)}
    path.rmdir()
    put(path, "file again", 2)
    assert both.settle() == {b"x": ("file", b"file again", moment(2), 0o644)}
    # From the other side too.
    (far / "x").unlink()
    put(far / "x/f", "there", 3)
    assert both.settle().keys() == {b"x", b"x/f"}
    assert not both.server_a.events("conflict") + both.server_a.events("error")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_large_file_arrives_whole_and_small_changes_pass_it(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    block = os.urandom(MIB)
    with (near / "large").open("wb") as file:
        for number in range(100):
            file.write(number.to_bytes(4) + block[4:])
    passed: list[int] = []
    for number in range(1000):
        if (far / "large").exists():
            break
        put(near / f"small{number}", f"{number}", number)
        live.server_a.wait_event("synced", path=f"small{number}")
        if not (far / "large").exists():
            passed.append(number)
    assert passed, "no small file arrived before the large one"
    tree = live.settle()
    assert tree[b"large"][1] == (near / "large").read_bytes()
    assert len(tree[b"large"][1]) == 100 * MIB  # type: ignore[arg-type]
    (said,) = live.server_a.events("synced", path="large", change="added")
    assert said["sent"] == 100 * MIB
    # An edit in the middle arrives too.
    with (near / "large").open("r+b") as file:
        file.seek(50 * MIB)
        file.write(b"edited")
    assert bytes(live.settle()[b"large"][1])[50 * MIB : 50 * MIB + 6] == b"edited"  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_sparse_file_stays_sparse(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    with (near / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(32 * MIB)
        file.write(b"end")
    if (near / "sparse").stat().st_blocks * 512 > MIB:
        pytest.skip("this file system has no sparse files")
    both.settle()
    assert (far / "sparse").stat().st_blocks * 512 < 2 * MIB


@pytest.mark.parametrize("role", ["a", "b"])
def test_hard_links_are_files_of_their_own_on_the_other_side(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    put(near / "one", "shared", 1)
    both.settle()
    os.link(near / "one", near / "two")
    assert both.settle().keys() == {b"one", b"two"}
    # A write through one name changes both, though no name but that one was touched.
    (near / "one").write_text("changed through one")
    assert both.settle()[b"two"][1] == b"changed through one"
    # What arrives for one name leaves the other alone.
    put(far / "two", "of its own", 5)
    tree = both.settle()
    assert (tree[b"one"][1], tree[b"two"][1]) == (b"changed through one", b"of its own")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_fifo_is_skipped_and_never_opened(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    live.is_aside = lambda path: path == b"pipe"
    os.mkfifo(near / "pipe")
    said = live.running[role].wait_event("skipped", path="pipe")
    assert "FIFO" in str(said["reason"])
    put(near / "beside", "x", 1)
    live.settle()
    assert not (far / "pipe").exists()
    with pytest.raises(OSError, match="No such device or address"):
        # Nobody has it open for reading, or this would succeed.
        os.open(near / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    assert "pipe" not in {row["name"] for row in live.rows()}
    (near / "pipe").unlink()
    put(near / "pipe", "a file now", 2)
    live.is_aside = lambda path: False
    assert live.settle()[b"pipe"] == ("file", b"a file now", moment(2), 0o644)
    assert len(live.running[role].events("skipped")) == 1


@pytest.mark.parametrize("role", ["a", "b"])
def test_an_unreadable_file_is_a_problem_of_its_own_and_heals(pair: Pair, role: str) -> None:
    _drop_privileges(pair)
    near, far = _roots(pair, role)
    put(near / "readable-before", "readable", 1)
    pair.start("b", "a")
    _move_in(pair, lambda p: put(p, "secret", 1, 0o000), near / "unreadable")
    _move_in(pair, lambda p: p.mkdir(0o000), near / "closed")
    put(near / "beside", "beside", 1)
    pair.server_a.wait_event("synced", path="beside")
    pair.running[role].wait_event("error", path="unreadable")
    pair.running[role].wait_event("error", path="closed")
    assert not (far / "unreadable").exists()
    waited = pair.command("dirsync", "wait", "--timeout", "0.5", is_ok=False)
    assert "unreadable" in waited.stderr
    (near / "unreadable").chmod(0o640)
    (near / "closed").chmod(0o755)
    put(near / "closed/f", "inside", 1)
    tree = pair.settle()
    assert tree[b"unreadable"] == ("file", b"secret", moment(1), 0o640)
    assert b"closed/f" in tree


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_read_only_tree_is_kept_the_same_too(pair: Pair, role: str) -> None:
    _drop_privileges(pair)
    near, far = _roots(pair, role)
    pair.start("b", "a")

    def make(path: Path) -> None:
        put(path / "sub/f", "inside", 1, 0o444)
        put(path / "f", "above", 1, 0o444)
        (path / "sub").chmod(0o555)

    _move_in(pair, make, near / "tree")
    (near / "tree").chmod(0o555)
    tree = pair.settle()
    assert (tree[b"tree"], tree[b"tree/sub"]) == (("directory", 0o555), ("directory", 0o555))
    assert tree[b"tree/sub/f"] == ("file", b"inside", moment(1), 0o444)
    # In one that is read-only before and after, a file is edited, one added, one removed.
    (far / "tree").chmod(0o755)
    put(far / "tree/new", "new", 2)
    (far / "tree/f").unlink()
    (far / "tree").chmod(0o555)
    tree = pair.settle()
    assert tree.keys() == {b"tree", b"tree/sub", b"tree/sub/f", b"tree/new"}
    assert tree[b"tree"] == ("directory", 0o555)
    for path in (near / "tree", near / "tree/sub"):
        path.chmod(0o755)
    shutil.rmtree(near / "tree")
    assert not pair.settle()
    problems = pair.server_a.events("error") + pair.server_b.events("error")
    assert not problems, problems


def _drop_privileges(pair: Pair) -> None:
    """Have the servers run without the right to read everything, which root has."""
    if os.geteuid() != 0:
        return
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not here")
    pair.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def _said_at(event: Said) -> float:
    return datetime.fromisoformat(str(event["time"])).astimezone(UTC).timestamp()


def test_whenever_in_sync_is_said_the_trees_agree(live: Pair) -> None:
    chance = random.Random(20261122)
    names = [f"f{number}" for number in range(12)] + ["d/g", "d/h", "d/e/i"]
    for _ in range(30):
        for _ in range(chance.randrange(1, 12)):
            _disturb(chance.choice((live.a, live.b)), chance.choice(names), chance)
        put(live.a / "last", str(chance.random()))
        written = time.time()
        in_sync = _first_in_sync_after(live.server_a, written)
        a, b = tree_of(live.a), tree_of(live.b)
        assert a == b, (in_sync, {p: (a.get(p), b.get(p)) for p in a.keys() | b.keys() if a.get(p) != b.get(p)})


def _disturb(root: Path, name: str, chance: random.Random) -> None:
    path = root / name
    match chance.randrange(5):
        case 0 | 1:
            put(path, str(chance.random()))
        case 2:
            path.unlink(missing_ok=True)
        case 3 if path.exists():
            try:
                path.chmod(chance.choice((0o600, 0o644)))
            except FileNotFoundError:
                pass  # the other side deleted it meanwhile
        case _:
            try:
                path.rename(root / f"{name}-renamed")
            except FileNotFoundError:
                pass


def _first_in_sync_after(server: Server, written: float) -> Said:
    found: list[Said] = []

    def is_said() -> bool:
        found[:] = [event for event in server.events("in_sync") if _said_at(event) > written]
        return bool(found)

    wait_until(is_said, "in_sync")
    return found[0]


def test_a_chain_of_renames_and_a_swap(both: Pair) -> None:
    for name in ("one", "two", "three"):
        put(both.a / name, name, 1)
    both.settle()
    (both.a / "three").rename(both.a / "four")
    (both.a / "two").rename(both.a / "three")
    (both.a / "one").rename(both.a / "two")
    assert _contents(both.settle()) == {b"two": b"one", b"three": b"two", b"four": b"three"}
    for old, new in (("two", "x"), ("three", "two"), ("x", "three")):
        (both.b / old).rename(both.b / new)
    assert _contents(both.settle()) == {b"two": b"two", b"three": b"one", b"four": b"three"}
    assert not both.server_a.events("conflict")


def _contents(tree: Tree) -> dict[bytes, object]:
    return {path: entry[1] for path, entry in tree.items()}


def test_an_old_time_arrives_to_the_nanosecond_and_setuid_does_not(both: Pair) -> None:
    put(both.a / "f", "x", 1)
    os.utime(both.a / "f", ns=(0, LONG_AGO_NS + 1))
    put(both.b / "before-1970", "x")
    os.utime(both.b / "before-1970", ns=(0, -1_234_567_891))
    put(both.a / "set", "x", 1)
    subprocess.run(["chmod", "4755", both.a / "set"], check=True)
    both.settle()
    assert (both.b / "f").stat().st_mtime_ns == LONG_AGO_NS + 1
    assert (both.a / "before-1970").stat().st_mtime_ns == -1_234_567_891
    assert stat.S_IMODE((both.b / "set").stat().st_mode) == 0o755
