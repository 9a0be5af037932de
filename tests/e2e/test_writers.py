"""Programs as they really write: the last content arrives, nothing temporary stays, and nobody reads half a file."""

import ctypes
import hashlib
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.files import LONG_AGO_NS, moment, put
from tests.e2e.servers import Pair

Save = Callable[[Path, str], None]
_LINES = 400


def _text(word: str) -> str:
    """Return a content that shows where it was torn: its first line says what all the others must say."""
    return f"{word}\n" * _LINES


def _run(*words: str | Path, **options: object) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")


def _vim(path: Path, word: str, *settings: str) -> None:
    _needs("vim")
    # Below the system's temporary directory vim makes no backup, and saves in another way than elsewhere.
    commands = ["set nocompatible backupskip=", *settings, f"%s/.*/{word}/", "wq"]
    _run("vim", "-u", "NONE", "-i", "NONE", "-n", "-es", *(w for c in commands for w in ("-c", c)), path)


def _vim_renames(path: Path, word: str) -> None:
    _vim(path, word, "set writebackup backupcopy=no")


def _vim_copies(path: Path, word: str) -> None:
    _vim(path, word, "set writebackup backupcopy=yes")


def _sed(path: Path, word: str) -> None:
    _needs("sed")
    _run("sed", "-i", f"s/.*/{word}/", path)


def _perl(path: Path, word: str) -> None:
    _needs("perl")
    _run("perl", "-i", "-pe", f"s/.*/{word}/", path)


def _truncate(path: Path, word: str) -> None:
    path.write_text(_text(word))


def _truncate_with_a_gap(path: Path, word: str) -> None:
    with path.open("w") as file:
        file.flush()
        threading.Event().wait(0.3)
        for _ in range(_LINES):
            file.write(f"{word}\n")
            if _ == _LINES // 2:
                file.flush()
                threading.Event().wait(0.3)


def _in_place(path: Path, word: str) -> None:
    with path.open("r+") as file:
        file.write(_text(word))
        file.truncate()


def _rename_over(path: Path, word: str) -> None:
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(_text(word))
    fresh.replace(path)


def _rename_away_and_create(path: Path, word: str) -> None:
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(_text(word))
    backup.unlink()


def _rsync(path: Path, word: str, *options: str) -> None:
    _needs("rsync")
    source = path.parent.parent / "rsync-source"
    source.write_text(_text(word))
    os.utime(source, ns=(moment(1), moment(1)))
    _run("rsync", "-a", "--ignore-times", *options, source, path)


def _rsync_in_place(path: Path, word: str) -> None:
    _rsync(path, word, "--inplace")


def _slow_dd(path: Path, word: str) -> None:
    _needs("dd")
    command = f'for i in 1 2 3 4 5; do yes {word} | head -n {_LINES // 5}; sleep 0.1; done | dd of="$0" bs=64 2>&1'
    _run("sh", "-c", command, path)


def _mmap(path: Path, word: str) -> None:
    content = _text(word).encode()
    with path.open("r+b") as file:
        file.truncate(len(content))
        with mmap.mmap(file.fileno(), len(content)) as mapped:
            for start in range(0, len(content), 100):
                mapped[start : start + 100] = content[start : start + 100]
            mapped.flush()


def _unlink_and_create(path: Path, word: str) -> None:
    path.unlink()
    path.write_text(_text(word))


def _cp(path: Path, word: str) -> None:
    source = path.parent.parent / "cp-source"
    source.write_text(_text(word))
    os.utime(source, ns=(LONG_AGO_NS, LONG_AGO_NS))
    _run("cp", "-p", source, path)


def _unnamed_and_linked(path: Path, word: str) -> None:
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no O_TMPFILE")
    path.unlink()
    fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o644)
    try:
        os.write(fd, _text(word).encode())
        libc = ctypes.CDLL(None, use_errno=True)
        at_fdcwd, follow = -100, 0x400
        result = libc.linkat(at_fdcwd, b"/proc/self/fd/%d" % fd, at_fdcwd, os.fsencode(path), follow)
        assert result == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(fd)


SAVES: list[Save] = [
    _vim_renames,
    _vim_copies,
    _sed,
    _perl,
    _truncate,
    _truncate_with_a_gap,
    _in_place,
    _rename_over,
    _rename_away_and_create,
    _rsync,
    _rsync_in_place,
    _slow_dd,
    _mmap,
    _unlink_and_create,
    _cp,
    _unnamed_and_linked,
]


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
        lines = content.split(b"\n")
        if len(lines) != _LINES + 1 or len(set(lines[:-1])) != 1 or lines[-1]:
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
@pytest.mark.parametrize("save", SAVES, ids=[save.__name__[1:] for save in SAVES])
def test_a_program_saves(both: Pair, role: str, save: Save) -> None:
    """Three saves in a row, with another program reading at the other side all the time."""
    near, far = _roots(both, role)
    path = near / "text"
    put(path, _text("zero"), 1)
    both.settle()
    conflicts = len(both.server_a.events("conflict"))
    errors = len(both.server_a.events("error") + both.server_b.events("error"))
    with _observed(far) as observer:
        for word in ("one", "two", "six"):
            save(path, word)
        tree = both.settle()
    assert tree.keys() == {b"text"}
    assert tree[b"text"][1] == _text("six").encode()
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
    _run("touch", "-r", near / "like", near / "f")
    assert both.settle()[b"f"] == ("file", b"54321", moment(-7), 0o644)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_git_repository_is_whole_at_the_other_side(both: Pair, role: str) -> None:
    _needs("git")
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
    _needs("sleep")
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
