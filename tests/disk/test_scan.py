import os

import pytest

from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.tree import Tree
from dirsync.disk.root import Root
from dirsync.disk.scan import Scan, scan
from dirsync.errors import RootLost
from tests.disk.bench import Bench


def _nothing(_path: RelPath, _is_directory: bool) -> bool:
    return False


def _learn(bench: Bench, tree: Tree[Known]) -> None:
    for path in scan(bench.root, tree, _nothing).suspects:
        tree.set(path, bench.known(path))


@pytest.fixture
def known(bench: Bench) -> Tree[Known]:
    for path in ("f", "d/f", "d/e/f", "other/f"):
        bench.make(path)
    tree: Tree[Known] = Tree()
    _learn(bench, tree)
    return tree


def test_a_first_scan_suspects_everything(bench: Bench) -> None:
    bench.make("f")
    bench.make("d/caf\udce9")
    bench.at("d/l").symlink_to("/etc/passwd")
    os.mkfifo(bench.at("fifo"))
    result = scan(bench.root, Tree(), _nothing)
    assert result == Scan(
        suspects={RelPath(b"f"), RelPath(b"d"), RelPath(b"d/caf\xe9"), RelPath(b"d/l")},
        directories=[RelPath(b"d")],
        untracked={RelPath(b"fifo"): "a FIFO is not synchronised"},
        found=4,
    )


def test_nothing_is_suspect_where_nothing_changed(bench: Bench, known: Tree[Known]) -> None:
    result = scan(bench.root, known, _nothing)
    assert result.suspects == set()
    assert result.found == 7
    assert sorted(result.directories) == [b"d", b"d/e", b"other"]
    assert result.directories.index(RelPath(b"d")) < result.directories.index(RelPath(b"d/e"))


def test_suspects_are_what_changed(bench: Bench, known: Tree[Known]) -> None:
    bench.make("d/new")
    bench.at("f").write_bytes(b"changed")
    bench.at("d/e/f").unlink()
    bench.at("other").chmod(0o700)
    assert scan(bench.root, known, _nothing).suspects == {b"d/new", b"f", b"d/e/f", b"other"}


def test_a_known_name_that_is_no_file_any_more_is_a_suspect(bench: Bench, known: Tree[Known]) -> None:
    bench.at("f").unlink()
    os.mkfifo(bench.at("f"))
    result = scan(bench.root, known, _nothing)
    assert result.suspects == {b"f"}
    assert set(result.untracked) == {b"f"}


def test_a_scan_below_a_directory_says_nothing_of_the_rest(bench: Bench, known: Tree[Known]) -> None:
    bench.at("d/e/f").unlink()
    bench.at("f").unlink()
    assert scan(bench.root, known, _nothing, RelPath(b"d")).suspects == {b"d/e/f"}
    bench.at("d/e").rmdir()
    assert scan(bench.root, known, _nothing, RelPath(b"d/e")).suspects == {b"d/e", b"d/e/f"}


def test_ignored_names_are_invisible(bench: Bench, known: Tree[Known]) -> None:
    bench.make("cache/x")
    asked: dict[RelPath, bool] = {}

    def is_ignored(path: RelPath, is_directory: bool) -> bool:
        asked[path] = is_directory
        return path == b"cache"

    result = scan(bench.root, known, is_ignored)
    assert result.suspects == set()
    assert b"cache" not in result.directories
    assert asked[RelPath(b"cache")] is True
    assert asked[RelPath(b"f")] is False
    assert b"cache/x" not in asked


def test_a_link_in_the_place_of_a_directory_is_not_followed(bench: Bench, known: Tree[Known]) -> None:
    assert not scan(bench.root, known, _nothing).has_directory_links
    bench.at("d/e/f").unlink()
    bench.at("d/e").rmdir()
    bench.at("d/e").symlink_to("/etc")
    result = scan(bench.root, known, _nothing)
    assert result.suspects == {b"d/e", b"d/e/f"}
    assert result.has_directory_links


def test_nothing_is_missing_where_a_listing_failed(
    bench: Bench, known: Tree[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.at("d/f").unlink()
    bench.at("f").unlink()
    real = Root.open_directory

    def refuse(root: Root, path: RelPath) -> int:
        if path == b"d":
            raise OSError(13, "no")
        return real(root, path)

    monkeypatch.setattr(Root, "open_directory", refuse)
    result = scan(bench.root, known, _nothing)
    assert result.suspects == {b"f"}
    assert result.unreadable == {b"d": "permission denied"}


def test_nothing_is_missing_where_a_listing_broke_off(
    bench: Bench, known: Tree[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class Broken:
        def __init__(self, fd: int) -> None:
            self._real = real(fd)

        def __enter__(self) -> "Broken":
            return self

        def __exit__(self, *_: object) -> None:
            self._real.close()

        def __iter__(self) -> "Broken":
            return self

        def __next__(self) -> "os.DirEntry[str]":
            entry = next(self._real)
            if entry.name == "e":
                raise OSError(5, "broken")
            return entry

    monkeypatch.setattr(os, "scandir", Broken)
    result = scan(bench.root, known, _nothing)
    assert result.unreadable == {b"d": "the disk reported an input/output error"}
    assert result.suspects == set()


def test_a_directory_that_vanishes_on_the_way_is_a_suspect(
    bench: Bench, known: Tree[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Root.open_directory

    def vanish(root: Root, path: RelPath) -> int:
        if path == b"d":
            bench.at("d").rename(bench.directory.with_name("elsewhere"))
        return real(root, path)

    monkeypatch.setattr(Root, "open_directory", vanish)
    result = scan(bench.root, known, _nothing)
    assert result.suspects == {b"d", b"d/f", b"d/e", b"d/e/f"}
    assert result.unreadable == {}


def test_a_lost_root_is_not_an_empty_one(bench: Bench, known: Tree[Known]) -> None:
    bench.directory.rename(bench.directory.with_name("elsewhere"))
    bench.directory.mkdir()
    with pytest.raises(RootLost):
        scan(bench.root, known, _nothing)
    bench.directory.rmdir()
    bench.directory.with_name("elsewhere").rename(bench.directory)


def test_a_deep_tree(bench: Bench) -> None:
    os.makedirs(bench.at("/".join(["d" * 100] * 30)))
    deep = RelPath(b"/".join([b"d" * 100] * 30))
    current = os.open(bench.at(os.fsdecode(deep)), os.O_RDONLY)
    for _ in range(30):
        os.mkdir("e" * 100, dir_fd=current)
        below = os.open("e" * 100, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
        deep = RelPath(deep + b"/" + b"e" * 100)
    os.close(current)
    assert len(deep) > 4096
    result = scan(bench.root, Tree(), _nothing)
    assert deep in result.suspects
    assert result.found == 60
