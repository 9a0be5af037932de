"""What no watcher tells of arrives all the same: real servers, real kernel limits, with and without the second source.

`dirsync wait` compares whole trees, so it would hide every gap: each test first waits for the other side to hold what
was written, and only then lets the pair settle.
"""

import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.servers import Pair, Tree, tree_of, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

EVENTS_MAX = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
SCAN_SECONDS_MAX = 120.0
"""On a machine with much else to do a scan takes long, and the next one comes the later for it."""
NO_INOTIFY = """\
import ctypes

class Libc(ctypes.CDLL):
    def __getattr__(self, name):
        if name.startswith("inotify_"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Libc
"""


def only_watchfiles(pair: Pair) -> None:
    """Let the servers find no inotify of their own, as on other systems."""
    put(pair.home / "without" / "sitecustomize.py", NO_INOTIFY)
    pair.environment["PYTHONPATH"] = str(pair.home / "without")


def limited(pair: Pair, limit: str, number: int) -> None:
    """Have the servers run in a user namespace with this limit of inotify."""
    pair.prefix = ["unshare", "-U", "-r", "sh", "-c", f'echo {number} > /proc/sys/user/{limit}; exec "$@"', "sh"]
    tried = subprocess.run([*pair.prefix, "true"], capture_output=True, check=False)
    if tried.returncode or tried.stderr:
        pytest.skip("no user namespaces with limits of their own here")


def arrives(pair: Pair, source: Path) -> None:
    """Wait until the other directory holds what `source` holds, then have dirsync agree."""
    wait_until(lambda: seen(pair.a) == seen(pair.b) is not None, f"{len(tree_of(source))} names at the other side")
    pair.settle()


def seen(root: Path) -> Tree | None:
    """Return the tree; None where it changed while it was read."""
    try:
        return tree_of(root)
    except FileNotFoundError:
        return None


def found_by_scan(pair: Pair, role: str) -> int:
    servers = pair.status()["servers"]
    return next(server["found_by_scan"] for server in servers if server["role"] == role)


@pytest.fixture(params=["both sources", "watchfiles alone"])
def gaps(request: pytest.FixtureRequest, pair: Pair) -> Pair:
    """Two servers on empty directories, watching with one source of hints or with two."""
    if request.param == "watchfiles alone":
        only_watchfiles(pair)
    pair.start("b", "a")
    return pair


@contextlib.contextmanager
def stopped(pair: Pair, role: str) -> Iterator[None]:
    """Have a server stand still."""
    process = pair.running[role].process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def overflow(directory: Path) -> None:
    """Fill the kernel's queue with events about two files; events that repeat the last one would be merged."""
    one, two = directory / "one", directory / "two"
    for number in range(EVENTS_MAX):
        (one if number % 2 else two).touch()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_queue_that_overflowed(gaps: Pair, role: str) -> None:
    root = {"a": gaps.a, "b": gaps.b}[role]
    put(root / "old" / "x", "1")
    put(root / "gone", "1")
    arrives(gaps, root)
    with stopped(gaps, role):
        overflow(root)
        for number in range(300):
            put(root / f"d{number}" / "e" / "f", f"{number}")
        put(root / "old" / "x", "changed")
        (root / "gone").unlink()
        (root / "old").rename(root / "renamed")
    arrives(gaps, root)
    assert len(tree_of(gaps.a)) == 904
    put(root / "d7" / "e" / "later", "watched again")
    arrives(gaps, root)


def test_files_that_come_with_their_directories(gaps: Pair) -> None:
    outside = gaps.home / "outside"
    for number in range(100):
        put(gaps.b / "made" / f"d{number}" / "b" / "c" / "f", f"{number}")
        put(outside / f"d{number}" / "b" / "c" / "f", f"{number}")
    archive = shutil.make_archive(str(gaps.home / "archive"), "tar", outside)
    (gaps.b / "unpacked").mkdir()
    shutil.unpack_archive(archive, gaps.b / "unpacked", filter="data")
    shutil.copytree(outside, gaps.a / "copied")
    outside.rename(gaps.a / "moved")
    arrives(gaps, gaps.b)
    assert len(tree_of(gaps.a)) == 4 * (100 * 4 + 1)


def test_a_name_that_is_not_utf8_and_is_written_all_the_time(gaps: Pair) -> None:
    name = os.path.join(os.fsencode(gaps.b), b"\xff\xfe")
    script = "import os,sys\nwhile True:\n with open(sys.argv[1],'wb') as f: f.write(os.urandom(64))"
    with subprocess.Popen([sys.executable, "-c", script, name]) as writer:
        try:
            wait_until(lambda: os.path.exists(name), "the writer")
            for number in range(5):
                put(gaps.b / f"d{number}" / "f", f"{number}")
                put(gaps.a / f"e{number}" / "f", f"{number}")
                gaps.server_a.wait_event("synced", path=f"d{number}/f")
                gaps.server_a.wait_event("synced", path=f"e{number}/f")
            assert writer.poll() is None
        finally:
            writer.kill()
    arrives(gaps, gaps.b)
    assert b"\xff\xfe" in tree_of(gaps.a)


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_program_that_writes_through_a_mapping(gaps: Pair, role: str) -> None:
    root, far = (gaps.a, gaps.b) if role == "a" else (gaps.b, gaps.a)
    put(root / "mapped", "old content")
    arrives(gaps, root)
    before = found_by_scan(gaps, role)
    with open(root / "mapped", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        # On a busy machine a late hint at what was written before may lead to the first of these; not to all.
        for text in (b"NEW", b"ODD", b"BIG"):
            view[:3] = text
            view.flush()
            new = text + b" content"
            wait_until(lambda new=new: (far / "mapped").read_bytes() == new, "a scan", SCAN_SECONDS_MAX)
            if found_by_scan(gaps, role) > before:
                break
        assert found_by_scan(gaps, role) > before
    arrives(gaps, root)


def test_a_writer_that_never_rests_holds_nothing_up_elsewhere(gaps: Pair) -> None:
    script = (
        "import os,sys,itertools\n"
        "for n in itertools.count():\n"
        " with open(os.path.join(sys.argv[1], f'new{n % 500}'),'wb') as f: f.write(b'%d' % n)\n"
    )
    (gaps.b / "busy").mkdir()
    with subprocess.Popen([sys.executable, "-c", script, gaps.b / "busy"]) as writer:
        try:
            gaps.server_a.wait_event("synced", path="busy/new7")
            for number in range(4):
                put(gaps.b / "quiet" / f"f{number}", f"{number}")
                put(gaps.a / "quiet" / f"g{number}", f"{number}")
                gaps.server_a.wait_event("synced", path=f"quiet/f{number}")
                gaps.server_a.wait_event("synced", path=f"quiet/g{number}")
            assert writer.poll() is None
        finally:
            writer.kill()
    arrives(gaps, gaps.b)


@pytest.mark.parametrize("is_alone", [False, True])
def test_links_to_directories_are_not_followed(pair: Pair, tmp_path: Path, is_alone: bool) -> None:
    if is_alone:
        only_watchfiles(pair)
    outside = tmp_path / "outside"
    put(outside / "deep" / "f", "1")
    (pair.b / "real").mkdir()
    (pair.b / "to_outside").symlink_to(outside)
    (pair.b / "to_itself").symlink_to(pair.b)
    (pair.b / "real" / "up").symlink_to("..")
    pair.start("b", "a")
    put(outside / "deep" / "f", "changed")
    put(outside / "g", "new")
    put(pair.b / "real" / "f", "1")
    pair.server_a.wait_event("synced", path="real/f")
    put(pair.b / "real" / "new" / "f", "1")
    pair.server_a.wait_event("synced", path="real/new/f")
    arrives(pair, pair.b)
    assert (pair.a / "to_outside").is_symlink()
    said = {str(event.get("path")) for server in (pair.server_a, pair.server_b) for event in server.said}
    assert not [path for path in said if path.startswith(("to_outside/", "to_itself/", "real/up/"))]
    assert not (pair.a / "real" / "up" / "real" / "real").exists()


def test_at_the_limit_of_watches_the_scan_finds_the_rest(pair: Pair) -> None:
    limited(pair, "max_inotify_watches", 30)
    pair.start("b", "a")
    for number in range(60):
        put(pair.b / f"d{number}" / "f", "1")
    arrives(pair, pair.b)
    assert "max_user_watches" in str(pair.server_b.wait_event("notice")["reason"])
    rounds = count()

    def are_found_by_scan() -> bool:
        """Change everything once more. While the new directories are still walked through, that finds it first."""
        content = f"changed {next(rounds)}"
        for number in range(60):
            put(pair.b / f"d{number}" / "f", content)
            put(pair.b / f"d{number}" / "g", content)
        arrives(pair, pair.b)
        return found_by_scan(pair, "b") > 0

    wait_until(are_found_by_scan, "changes that only a scan found")
    assert "found only by scanning" in pair.command("dirsync", "status").stdout


def test_a_tree_beyond_the_limit_of_watches_at_the_start(pair: Pair) -> None:
    limited(pair, "max_inotify_watches", 30)
    for number in range(60):
        put(pair.b / f"d{number}" / "f", "1")
    pair.start("b", "a")
    assert "max_user_watches" in str(pair.server_b.wait_event("notice")["reason"])
    put(pair.b / "d59" / "f", "changed")
    put(pair.b / "d1" / "g", "new")
    arrives(pair, pair.b)


def test_without_any_inotify_instance(pair: Pair) -> None:
    limited(pair, "max_inotify_instances", 0)
    pair.start("b", "a")
    reasons = [str(event["reason"]) for event in pair.server_b.events("notice")]
    assert any("cannot be watched" in reason for reason in reasons), reasons
    put(pair.b / "d" / "f", "1")
    put(pair.a / "e" / "f", "1")
    arrives(pair, pair.b)
    assert [server["state"] for server in pair.status()["servers"]] == ["ready", "ready"]
    assert [row["name"] for row in pair.rows()] == ["d/f", "e/f"]
    (pair.b / "d" / "f").unlink()
    arrives(pair, pair.b)
    assert found_by_scan(pair, "b") > 0
