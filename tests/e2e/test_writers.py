"""Programs as they really write: the last content arrives, nothing temporary stays, and nobody reads half a file."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.files import moment, put
from tests.e2e.servers import Pair
from tests.e2e.writers import WRITERS, Writer, is_whole, needs, run, text


class _Observer:
    """Reads files again and again, and remembers what was not whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._over = threading.Event()
        self.torn: list[tuple[str, int, bytes]] = []
        self.reads = 0

    def run(self) -> None:
        while not self._over.wait(0.002):
            for path in sorted(self._directory.iterdir()):
                self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        self.reads += 1
        if not is_whole(content):
            self.torn.append((path.name, len(content), content[:80]))

    def stop(self) -> None:
        self._over.set()


@contextmanager
def _observed(directory: Path) -> Iterator[_Observer]:
    observer = _Observer(directory)
    thread = threading.Thread(target=observer.run)
    thread.start()
    try:
        yield observer
    finally:
        observer.stop()
        thread.join()


def _roots(pair: Pair, role: str) -> tuple[Path, Path]:
    return (pair.a, pair.b) if role == "a" else (pair.b, pair.a)


@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("writer", WRITERS, ids=lambda each: each.name)
def test_a_program_saves(both: Pair, role: str, writer: Writer) -> None:
    """Three saves in a row, with another program reading at the other side all the time."""
    near, far = _roots(both, role)
    path = near / "text"
    put(path, text("zero"), 1)
    both.settle()
    conflicts = len(both.server_a.events("conflict"))
    errors = len(both.server_a.events("error") + both.server_b.events("error"))
    with _observed(far) as observer:
        for word in ("one", "two", "six"):
            writer.save(path, word)
        tree = both.settle()
    assert tree.keys() == {b"text"}
    assert tree[b"text"][1] == text("six").encode()
    assert not observer.torn, observer.torn[:3]
    assert observer.reads
    assert len(both.server_a.events("conflict")) == conflicts
    assert len(both.server_a.events("error") + both.server_b.events("error")) == errors


@pytest.mark.parametrize("role", ["a", "b"])
def test_an_older_time_with_the_same_size(both: Pair, role: str) -> None:
    near, _ = _roots(both, role)
    put(near / "like", "x", -7)
    put(near / "f", "12345", 1)
    both.settle()
    status = (near / "f").stat()
    (near / "f").write_text("54321")
    os.utime(near / "f", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert both.settle()[b"f"] == ("file", b"54321", moment(1), 0o644)
    run("touch", "-r", near / "like", near / "f")
    assert both.settle()[b"f"] == ("file", b"54321", moment(-7), 0o644)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_git_repository_is_whole_at_the_other_side(both: Pair, role: str) -> None:
    needs("git")
    near, far = _roots(both, role)
    repository = near / "repository"
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x@example.org",
        "GIT_COMMITTER_NAME": "x",
        "GIT_COMMITTER_EMAIL": "x@example.org",
    }

    def git(*words: str, at: Path = repository) -> str:
        command = ["git", "-C", at, *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, timeout=60
        ).stdout.strip()

    repository.mkdir()
    git("init", "-q", "-b", "main")
    for number in range(5):
        for name in ("one", "two", "d/three"):
            put(repository / name, f"{name} {number}\n" * 50)
        git("add", "-A")
        git("commit", "-q", "-m", f"{number}")
    git("checkout", "-q", "-b", "other", "HEAD~3")
    put(repository / "one", "on the other branch")
    git("commit", "-qam", "other")
    git("checkout", "-q", "main")
    both.settle()
    git("gc", "-q", "--prune=now")
    git("checkout", "-q", "other")
    both.settle()
    there = far / "repository"
    git("fsck", "--strict", at=there)
    assert git("rev-parse", "HEAD", "main", at=there) == git("rev-parse", "HEAD", "main")
    assert git("status", "--porcelain", at=there) == ""
    # And the other side goes on where this one stopped.
    put(there / "two", "changed there")
    git("commit", "-qam", "there", at=there)
    both.settle()
    git("fsck", "--strict")
    assert git("log", "-1", "--format=%s") == "there"


@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_was_closed_is_whole_at_the_other_side(both: Pair, role: str, mode: str) -> None:
    near, far = _roots(both, role)
    database = sqlite3.connect(near / "data.db", isolation_level=None)
    try:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, text TEXT)")
        for number in range(40):
            database.execute("BEGIN")
            rows = [(None, hashlib.sha256(b"%d %d" % (number, i)).hexdigest()) for i in range(50)]
            database.executemany("INSERT INTO t VALUES (?, ?)", rows)
            database.execute("COMMIT")
        expected = database.execute("SELECT count(*), sum(number) FROM t").fetchone()
    finally:
        database.close()
    assert both.settle().keys() == {b"data.db"}
    copy = sqlite3.connect(f"file:{far / 'data.db'}?immutable=1", uri=True)
    try:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*), sum(number) FROM t").fetchone() == expected
    finally:
        copy.close()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_writer_that_holds_its_file_open_is_announced_and_its_stable_states_arrive(both: Pair, role: str) -> None:
    near, far = _roots(both, role)
    server = both.running[role]
    before = len(both.server_a.events("synced", path="log"))
    with (near / "log").open("w") as file:
        file.write("first state\n")
        file.flush()
        both.server_a.wait_event("synced", count=before + 1, path="log")
        assert (far / "log").read_text() == "first state\n"
        file.write("second state\n")
        file.flush()
        both.server_a.wait_event("synced", count=before + 2, path="log")
        assert (far / "log").read_text() == "first state\nsecond state\n"
    both.settle()
    assert not server.events("error", path="log")


def test_both_sides_edit_the_same_file_in_turns(both: Pair) -> None:
    for number in range(10):
        near, _ = _roots(both, "ab"[number % 2])
        put(near / "f", f"turn {number}")
        assert both.settle()[b"f"][1] == f"turn {number}".encode()
    assert not both.server_a.events("conflict", path="f")


def test_a_program_runs_while_it_is_replaced(both: Pair) -> None:
    """An executable that runs cannot be opened for writing; it is replaced all the same."""
    copy = both.a / "program"
    shutil.copy(Path(sys.executable).resolve(), copy)
    both.settle()
    needs("sleep")
    shutil.copy(shutil.which("sleep") or "", both.a / "program")
    both.settle()
    running = subprocess.Popen([both.b / "program", "60"])
    try:
        put(both.a / "program", "#!/bin/sh\necho replaced\n", mode=0o755)
        both.settle()
    finally:
        running.kill()
        running.wait()
    assert (both.b / "program").read_text().startswith("#!/bin/sh")
