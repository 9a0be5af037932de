"""A process that dies between any two system calls of an apply: nothing is torn, and nothing is lost."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dirsync.core.entry import Directory, Entry, File
from dirsync.core.paths import RelPath
from dirsync.disk.kept import KeptArea
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.disk.unlocking import Unlocking
from tests.disk.bench import OLD_NS, Bench, file_entry
from tests.support.windows import at_each_system_call

NEW = file_entry(b"new", OLD_NS + 1)


def _dies(count: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that dies just before its nth system call; return whether it got so far."""
    child = os.fork()
    if child == 0:
        with at_each_system_call(lambda number, _: os._exit(9) if number == count else None):
            work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def _everything_kept(bench: Bench, path: str) -> set[bytes]:
    """Recover as a start does; return the contents that can be brought back."""
    root = Root.open(str(bench.directory))
    staging, kept = Staging(root, bench.state), KeptArea(bench.state)
    for stray in staging.recover(bench.path_of(path)):
        assert stray.path == path.encode()
        kept.keep_all(stray.directory, stray.name, stray.path, [])
    assert staging.recover(bench.path_of(path)) == []
    found = kept.orphans(set(), bench.path_of(path))
    assert {each.file for each in found} == kept.files()
    contents = {bench.kept_content(each.file) for each in found}
    for file in kept.files():
        kept.remove(file)
    assert os.listdir(bench.state / "staging") == []
    for each in (staging, kept, root):
        each.close()
    return contents


@pytest.mark.parametrize(
    ("intended", "linked"),
    [(NEW, False), (NEW, True), (None, False), (None, True), (Directory(0o755), False)],
    ids=["replace", "replace-linked", "delete", "delete-linked", "to-directory"],
)
def test_a_crash_anywhere_in_an_apply(bench: Bench, tmp_path: Path, intended: Entry | None, linked: bool) -> None:
    points = 0
    while True:
        known = bench.make("f")
        if linked:
            os.link(bench.at("f"), tmp_path / "other")
            known = bench.known("f")
        content = b"new" if isinstance(intended, File) else None
        died = _dies(points, lambda: bench.apply_one(bench.prepare("f", known, intended, content)))  # noqa: B023
        target = bench.at("f")
        is_old = target.is_file() and target.read_bytes() == b"old"
        is_new = target.is_file() and target.read_bytes() == b"new"
        assert is_old or is_new or not target.is_file()
        kept = _everything_kept(bench, "f")
        assert is_old or b"old" in kept
        assert kept <= {b"old"}, "half of a copy, or of what was staged, is nobody's version"
        if target.is_dir():
            target.rmdir()
        target.unlink(missing_ok=True)
        (tmp_path / "other").unlink(missing_ok=True)
        points += 1
        if not died:
            break
    assert points > 5


def test_a_crash_anywhere_in_a_rename(bench: Bench) -> None:
    from dirsync.core.plan import Action
    from dirsync.disk.apply import Prepared

    points = 0
    died = True
    while died:
        known = bench.make("old")
        assert isinstance(known.entry, File)
        intended = file_entry(b"old", OLD_NS + 7)
        action = Action(RelPath(b"new"), None, intended, renamed_from=RelPath(b"old"), expected_source=known.entry)
        prepared = Prepared(action, None, None, known)
        died = _dies(points, lambda: bench.apply_one(prepared))  # noqa: B023
        (name,) = os.listdir(bench.directory)
        assert bench.at(name).read_bytes() == b"old"
        bench.at(name).unlink()
        points += 1
    assert points > 3


def _as_nobody() -> None:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)


def test_a_crash_anywhere_leaves_no_read_only_directory_open() -> None:
    """As a user without special rights: root needs no directory opened."""
    with tempfile.TemporaryDirectory(prefix="dirsync-") as home:
        if os.geteuid() == 0:
            os.chown(home, 65534, 65534)
        points = 0
        died = True
        while died:

            def work() -> None:
                _as_nobody()
                bench = Bench(Path(home, "root"), Path(home, "state"))
                known = bench.make("d/f")
                bench.at("d").chmod(0o500)
                bench.apply_one(bench.prepare("d/f", known, NEW, b"new"))

            died = _dies(points, work)
            root = Path(home, "root")
            if (root / "d").exists() and stat.S_IMODE((root / "d").stat().st_mode) != 0o755:
                with closing(Root.open(str(root))) as opened:
                    Unlocking(opened, Path(home, "state"))
                assert stat.S_IMODE((root / "d").stat().st_mode) == 0o500
                assert os.listdir(Path(home, "state", "opened")) == []
            for path in Path(home).iterdir():
                shutil.rmtree(path)
            points += 1
    assert points > 60


def test_a_crash_anywhere_leaves_no_new_directory_open_that_is_to_be_read_only(bench: Bench) -> None:
    intended = Directory(0o555)
    points, left_open, died = 0, 0, True
    while died:
        died = _dies(points, lambda: bench.apply_one(bench.prepare("d", None, intended)))
        if bench.at("d").exists():
            left_open += stat.S_IMODE(bench.at("d").stat().st_mode) != 0o555
            with closing(Root.open(str(bench.directory))) as opened:
                Unlocking(opened, bench.state)
            assert stat.S_IMODE(bench.at("d").stat().st_mode) == 0o555
            bench.at("d").rmdir()
        with closing(Root.open(str(bench.directory))) as opened:
            Unlocking(opened, bench.state)
        assert os.listdir(bench.state / "opened") == []
        _everything_kept(bench, "d")
        points += 1
    assert left_open > 0
