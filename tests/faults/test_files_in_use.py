"""Files that programs keep using while they are synchronised: databases, repositories, logs, trees turned around."""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.servers import Pair, wait_until
from tests.e2e.writers import is_whole, needs, text

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
ROUNDS = 30


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    made.start("b", "a")
    yield made
    made.close()


def _roots(pair: Pair, role: str) -> tuple[Path, Path]:
    return (pair.a, pair.b) if role == "a" else (pair.b, pair.a)


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something again and again, in a thread of its own, until the block ends."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.001):
            work()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            is_over.set()
        running.result()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_file_rewritten_in_place_without_a_pause_arrives_when_it_is_closed(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    put(near / "f", text("zero00"), 1)
    live.settle()
    seen: set[bytes] = set()
    with _meanwhile(lambda: seen.add((far / "f").read_bytes())), (near / "f").open("r+b", buffering=0) as file:
        for number in range(ROUNDS):
            content = text(f"word{number:02}").encode()
            for start in (0, len(content) // 2):
                os.pwrite(file.fileno(), content[start : start + len(content) // 2], start)
                threading.Event().wait(0.1)  # the program's own pace
    live.settle()
    assert (far / "f").read_bytes() == text(f"word{ROUNDS - 1:02}").encode()
    assert [content[:40] for content in seen if not is_whole(content)] == []


@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_in_use(live: Pair, role: str, mode: str) -> None:
    near, far = _roots(live, role)
    with closing(sqlite3.connect(near / "data.db", isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, text TEXT)")
        for number in range(ROUNDS * 5):
            database.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
            if number % 50 == 0:
                threading.Event().wait(0.3)
    live.settle()
    with closing(sqlite3.connect(f"file:{far / 'data.db'}?immutable=1", uri=True)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (ROUNDS * 5,)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_repository_in_use(live: Pair, role: str) -> None:
    needs("git")
    near, far = _roots(live, role)
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def git(root: Path, *words: str) -> str:
        command = ["git", "-C", root / "repository", *words]
        found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60)
        return found.stdout

    (near / "repository").mkdir()
    git(near, "init", "-q", "-b", "main")
    for number in range(12):
        for name in ("one", "two", "d/three", f"d/of-{number}"):
            put(near / "repository" / name, f"{name} {number}\n" * 50)
        git(near, "add", "-A")
        git(near, "commit", "-q", "-m", f"{number}")
        if number % 4 == 3:
            git(near, "checkout", "-q", "HEAD~2")
            git(near, "gc", "-q", "--prune=now")
            git(near, "checkout", "-q", "main")
    live.settle()
    for root in (near, far):
        git(root, "fsck", "--strict")
        assert git(root, "status", "--porcelain") == ""
    assert git(far, "log", "--format=%H") == git(near, "log", "--format=%H")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_line_that_a_logger_writes_after_its_file_was_replaced_is_found_among_the_versions(
    live: Pair, role: str
) -> None:
    near, far = _roots(live, role)
    put(near / "log", "first\n", 1)
    live.settle()
    with (near / "log").open("ab", buffering=0) as logger:
        wait_until(lambda: _quiet_for_a_second(near / "log"), "a quiet file")
        put(far / "log", "from the other side\n")
        wait_until(lambda: (near / "log").read_bytes() == b"from the other side\n", "the replacement")
        logger.write(b"late\n")
    live.settle()
    kept, expected = role, b"first\nlate\n"
    if (near / "log").read_bytes() == expected:
        # It came before the replacement was complete, which was undone: of two edits this one is the newer.
        kept, expected = "b" if role == "a" else "a", b"from the other side\n"
    version = live.command("dirsync", "history", "log").stdout.split()[0]
    output = live.home / "restored"
    live.command("dirsync", "restore", "log", "--version", version, "--from", kept, "--output", output)
    assert output.read_bytes() == expected


def _quiet_for_a_second(path: Path) -> bool:
    beside = path.parent.parent / "clock"
    beside.write_bytes(b"")
    return beside.stat().st_ctime_ns - path.stat().st_ctime_ns > 1_100_000_000


@pytest.mark.parametrize("role", ["a", "b"])
def test_names_that_change_places(live: Pair, role: str) -> None:
    near, _ = _roots(live, role)
    for name in "abcd":
        put(near / name, f"was {name}", 1)
    put(near / "one/in one", "1", 1)
    put(near / "two/in two", "2", 1)
    live.settle()
    (near / "a").rename(near / "x")
    for old, new in (("b", "a"), ("c", "b"), ("x", "c")):
        (near / old).rename(near / new)
    (near / "one").rename(near / "between")
    (near / "two").rename(near / "one")
    (near / "between").rename(near / "two")
    tree = live.settle()
    assert [tree[name][1] for name in (b"a", b"b", b"c", b"d")] == [b"was b", b"was c", b"was a", b"was d"]
    assert tree[b"one/in two"][1] == b"2"
    assert tree[b"two/in one"][1] == b"1"


def test_directories_moved_into_each_other_on_the_two_sides(live: Pair) -> None:
    put(live.a / "one/in one", "1", 1)
    put(live.a / "two/in two", "2", 1)
    live.settle()
    live.stop("b")
    (live.a / "one").rename(live.a / "two" / "one")
    (live.b / "two").rename(live.b / "one" / "two")
    live.start("b")
    tree = live.settle()
    contents = {entry[1] for entry in tree.values() if entry[0] == "file"}
    assert contents == {b"1", b"2"}


@pytest.mark.parametrize("role", ["a", "b"])
def test_names_like_our_own_are_anybodys(live: Pair, role: str) -> None:
    near, far = _roots(live, role)
    names = [".dirsync-" + "0" * 32, ".dirsync", "new-x", f"{'0' * 32}-{'0' * 64}-00000000", "x.aside"]
    for name in names:
        put(near / name, name, 1)
        put(near / "d" / name, name, 1)
    live.settle()
    live.stop()
    live.start("b", "a")
    live.settle()
    assert {path.name for path in far.iterdir() if path.is_file()} == set(names)
