import errno
import os
from pathlib import Path

import pytest

from dirsync.core.paths import ROOT, RelPath
from dirsync.disk import root as root_module
from dirsync.disk import syscalls
from dirsync.disk.probe import Settled
from dirsync.disk.root import Parents, Root
from dirsync.errors import RootLost
from dirsync.replica.looking import Ask, look_at
from tests.disk.bench import Bench


@pytest.fixture(params=["openat2", "components"])
def walker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "components":
        monkeypatch.setattr(syscalls, "_has_openat2", lambda: False)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RootLost, match="does not exist"):
        Root.open(str(tmp_path / "none"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RootLost):
        Root.open(str(tmp_path / "file"))


def _removed(path: Path) -> None:
    path.rmdir()


def _renamed(path: Path) -> None:
    path.rename(path.with_name("away"))


def _replaced(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.mkdir()


def _a_link(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to(path.with_name("away"))


def _a_file(path: Path) -> None:
    path.rmdir()
    path.write_bytes(b"")


@pytest.mark.parametrize("loss", [_removed, _renamed, _replaced, _a_link, _a_file])
def test_verify_notices_that_the_root_is_another(bench: Bench, loss: object) -> None:
    bench.root.verify()
    assert callable(loss)
    loss(bench.directory)
    with pytest.raises(RootLost):
        bench.root.verify()


def test_a_link_given_as_the_root_must_go_on_leading_there(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = Root.open(str(tmp_path / "link"))
    root.verify()
    assert root.path == str((tmp_path / "real").resolve())
    (tmp_path / "other").mkdir()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(RootLost, match="another directory stands at"):
        root.verify()
    (tmp_path / "link").unlink()
    with pytest.raises(RootLost, match="does not exist"):
        root.verify()
    root.close()


@pytest.mark.usefixtures("walker")
@pytest.mark.parametrize("path", [b"link/f", b"d/link/f", b"file/f", b"none/f", b"../root/f", b"d/../../x/f"])
def test_no_parent_is_reached_by_way_of_anything_but_directories(bench: Bench, path: bytes) -> None:
    bench.at("d").mkdir()
    bench.at("file").write_bytes(b"")
    bench.at("link").symlink_to("d")
    bench.at("d/link").symlink_to("/")
    with pytest.raises(OSError), bench.root.parent_of(RelPath(path)):  # noqa: PT011
        pytest.fail("walked there")
    with pytest.raises(OSError):  # noqa: PT011
        bench.root.open_directory(RelPath(path))


@pytest.mark.parametrize("path", [b"..", b".", b"d/..", b""])
def test_a_name_is_a_name(bench: Bench, path: bytes) -> None:
    bench.at("d").mkdir()
    with pytest.raises(OSError), bench.root.parent_of(RelPath(path)):  # noqa: PT011
        pytest.fail("walked there")


@pytest.mark.usefixtures("walker")
def test_parents_and_directories(bench: Bench) -> None:
    bench.make("a/b/f", b"content")
    with bench.root.parent_of(RelPath(b"a/b/f")) as (directory, name):
        assert os.stat(name, dir_fd=directory).st_size == 7
    with bench.root.parent_of(RelPath(b"a")) as (directory, name):
        assert (directory, name) == (bench.root.fd, b"a")
    for path, names in ((ROOT, ["a"]), (RelPath(b"a"), ["b"]), (RelPath(b"a/b"), ["f"])):
        fd = bench.root.open_directory(path)
        assert os.listdir(fd) == names
        os.close(fd)


@pytest.mark.usefixtures("walker")
def test_a_path_is_walked_in_pieces(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_module, "_PIECE_BYTES_MAX", 8)
    bench.make("one/two/three/four/f", b"deep")
    with bench.root.parent_of(RelPath(b"one/two/three/four/f")) as (directory, name):
        assert os.stat(name, dir_fd=directory).st_size == 4
    with pytest.raises(FileNotFoundError), bench.root.parent_of(RelPath(b"one/two/three/none/f")):
        pytest.fail("walked there")


def test_the_mark(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.root.read_mark() is None
    if not bench.root.write_mark(b"id"):
        pytest.skip("no extended attributes here")
    assert bench.root.read_mark() == b"id"

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)
    assert not bench.root.write_mark(b"id")
    assert bench.root.read_mark() is None


def test_a_batch_of_looks_walks_to_each_directory_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [RelPath(b"d/%d" % number) for number in range(5)] + [RelPath(b"e/f")]
    for path in paths:
        bench.make(path.decode())
    walked: list[bytes] = []
    real = root_module.open_beneath
    monkeypatch.setattr(
        root_module, "open_beneath", lambda fd, path, flags: (walked.append(path), real(fd, path, flags))[1]
    )
    outcomes = look_at(bench.root, [Ask(path, None) for path in paths], lambda _: None, is_content_wanted=False)
    assert all(isinstance(outcome, Settled) for outcome in outcomes)
    assert walked == [b"d", b"e"]


def test_a_batch_of_looks_holds_few_directories_open(bench: Bench) -> None:
    paths = [RelPath(b"d%d/f" % number) for number in range(200)]
    for path in paths:
        bench.make(path.decode())
    parents = Parents(bench.root)
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        assert os.stat(parents.place_of(path)[1], dir_fd=parents.place_of(path)[0]).st_size == 3
        assert len(os.listdir("/proc/self/fd")) <= before + 64
    parents.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_descriptor_that_was_only_read_from_is_given_back_whatever_the_disk_says(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    root, real = Root.open(str(tmp_path)), os.close

    def close_and_complain(fd):
        real(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close_and_complain)
    parents = Parents(root)
    assert parents.place_of(RelPath(b"d/f"))[1] == b"f"
    parents.close()
    with root.parent_of(RelPath(b"d/f")) as (_, name):
        assert name == b"f"
    root.close()
