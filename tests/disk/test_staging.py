import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import File, Symlink
from dirsync.core.paths import RelPath
from dirsync.disk import staging_area, syscalls
from dirsync.disk.apply import Done
from dirsync.disk.kept import Kept, entry_at, path_hash
from dirsync.disk.probe import lstat_at
from dirsync.disk.reading import SparseWriter, digest_of, read_whole
from dirsync.disk.root import fingerprint_of
from dirsync.disk.staging import Staged, Staging
from dirsync.errors import DiskError
from tests.disk.bench import Bench, file_entry

F = RelPath(b"f")
BIG = bytes(200_000) + b"x" * 300_000 + bytes(2_000_000) + b"y" * 10 + bytes(100_000)


def _content(staged: Staged | None) -> bytes:
    assert staged is not None
    fd = os.open(staged.name, os.O_RDONLY, dir_fd=staged.directory)
    try:
        status = os.fstat(fd)
        assert status.st_ino == staged.inode
        assert status.st_mode & 0o777 == 0o600
        return os.read(fd, 1 << 24)
    finally:
        os.close(fd)


def _fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def _receive(staging: Staging, content: bytes, size: int, offset: int = 0) -> bool:
    receiving = staging.receive(digest_of(content), size, offset)
    receiving.write(content[offset:])
    return receiving.finish()


def test_written_content_must_be_what_it_is_said_to_be(bench: Bench) -> None:
    assert _content(bench.staging.write(F, digest_of(b"new"), b"new")) == b"new"
    assert bench.staging.write(F, digest_of(b"new"), b"other") is None
    assert len(bench.staged_names()) == 1


def test_what_arrives_begins_its_way_to_the_disk_before_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr("dirsync.disk.receiving.begin_writing_out", lambda _, at, size: begun.append((at, size)))
    monkeypatch.setattr("dirsync.disk.receiving._WRITE_OUT_BYTES", 1000)
    content = os.urandom(4500)
    receiving = bench.staging.receive(digest_of(content), len(content), 0)
    for start in range(0, len(content), 600):
        receiving.write(content[start : start + 600])
    assert receiving.finish()
    assert begun == [(0, 1200), (1200, 1200), (2400, 1200)]


def test_a_range_can_begin_its_way_to_the_disk_wherever_that_is_possible(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+b") as file:
        file.write(b"1" * 10_000)
        file.flush()
        syscalls.begin_writing_out(file.fileno(), 0, 10_000)


@pytest.mark.parametrize("has_clone", [True, False])
def test_a_copy_is_verified_and_stays_sparse(bench: Bench, monkeypatch: pytest.MonkeyPatch, has_clone: bool) -> None:
    if not has_clone:
        monkeypatch.setattr("dirsync.disk.kept.clone", lambda *_: False)
    bench.make("big", BIG)
    with bench.at("big").open("rb") as source:
        staged = bench.staging.copy(F, file_entry(BIG), source.fileno())
        assert _content(staged) == BIG
        assert staged is not None
        assert os.stat(staged.name, dir_fd=staged.directory).st_blocks * 512 < 600_000 or has_clone
        assert bench.staging.copy(F, file_entry(BIG[:-1]), source.fileno()) is None
    bench.staging.discard(staged)
    assert bench.staged_names() == []


def test_a_transfer_is_received_in_pieces_and_resumed(bench: Bench) -> None:
    digest = digest_of(BIG)
    assert bench.staging.received(digest)[0] == 0
    receiving = bench.staging.receive(digest, len(BIG), 0)
    receiving.write(BIG[:150_001])
    assert bench.staging.is_receiving
    receiving.abandon()
    assert not bench.staging.is_receiving
    assert bench.staging.received(digest)[0] == 150_001
    assert bench.staging.take(F, digest) is None
    receiving = bench.staging.receive(digest, len(BIG), 150_001)
    for at in range(150_001, len(BIG), 99_999):
        receiving.write(BIG[at : at + 99_999])
    assert receiving.finish()
    assert bench.staging.received(digest)[0] == len(BIG)
    staged = bench.staging.take(F, digest)
    assert _content(staged) == BIG
    assert bench.staging.received(digest)[0] == 0


def test_a_transfer_that_ends_in_a_hole_can_be_resumed_there(bench: Bench) -> None:
    digest = digest_of(bytes(300_000))
    receiving = bench.staging.receive(digest, 300_000, 0)
    receiving.write(bytes(200_000))
    receiving.abandon()
    assert bench.staging.received(digest)[0] == 200_000
    assert _receive(bench.staging, bytes(300_000), 300_000, 200_000)


@pytest.mark.parametrize(("size", "sent"), [(3, b"abd"), (3, b"ab"), (4, b"abc")])
def test_a_wrong_content_is_not_accepted(bench: Bench, size: int, sent: bytes) -> None:
    receiving = bench.staging.receive(digest_of(b"abc"), size, 0)
    receiving.write(sent)
    assert not receiving.finish()
    assert bench.staged_names() == []
    assert not bench.staging.is_receiving


def test_more_than_announced_is_refused(bench: Bench) -> None:
    receiving = bench.staging.receive(digest_of(b"abc"), 3, 0)
    with pytest.raises(DiskError, match="more content"):
        receiving.write(b"abcd")
    receiving.abandon()


def test_a_content_is_received_once_at_a_time(bench: Bench) -> None:
    receiving = bench.staging.receive(digest_of(b"abc"), 3, 0)
    receiving.write(b"a")
    with pytest.raises(DiskError, match="already"):
        bench.staging.receive(digest_of(b"abc"), 3, 0).write(b"a")
    receiving.abandon()
    receiving.abandon()
    with pytest.raises(DiskError, match="ended"):
        receiving.write(b"b")
    with pytest.raises(DiskError, match="only 1 bytes"):
        bench.staging.receive(digest_of(b"abc"), 3, 2).write(b"c")
    assert _receive(bench.staging, b"abc", 3)


def test_one_received_content_serves_several_paths(bench: Bench) -> None:
    assert _receive(bench.staging, BIG, len(BIG))
    digest = digest_of(BIG)
    one, two = bench.staging.take(F, digest), bench.staging.take(RelPath(b"g"), digest)
    assert one is not None
    assert two is not None
    assert one.inode != two.inode
    assert _content(one) == _content(two) == BIG
    assert bench.staging.take(F, digest_of(b"never")) is None


def test_a_full_disk_is_told_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "full")

    bench.make("source")
    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr("dirsync.disk.kept.clone", lambda *_: False)
    with pytest.raises(DiskError, match="no space left"):
        bench.staging.write(F, digest_of(b"new"), b"new")
    with bench.at("source").open("rb") as source, pytest.raises(DiskError, match="no space left"):
        bench.staging.copy(F, file_entry(b"old"), source.fileno())
    assert bench.staged_names() == []
    receiving = bench.staging.receive(digest_of(b"abc"), 3, 0)
    with pytest.raises(DiskError, match="no space left"):
        receiving.write(b"abc")
    receiving.abandon()


def test_a_failed_sync_is_not_trusted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "broken")

    receiving = bench.staging.receive(digest_of(b"abc"), 3, 0)
    receiving.write(b"abc")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskError):
        receiving.finish()
    assert bench.staging.received(digest_of(b"abc"))[0] == 0


def test_a_transfer_that_found_no_room_leaves_it_to_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    receiving = bench.staging.receive(digest_of(BIG), len(BIG), 0)
    receiving.write(BIG[:1000])
    monkeypatch.setattr(os, "pwrite", _fail_with(errno.ENOSPC))
    with pytest.raises(DiskError, match="no space left"):
        receiving.write(BIG[1000:])
    receiving.abandon()
    assert bench.staged_names() == []
    monkeypatch.undo()
    assert _receive(bench.staging, BIG, len(BIG))


def test_a_part_that_cannot_be_read_again_is_begun_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    receiving = bench.staging.receive(digest_of(BIG), len(BIG), 0)
    receiving.write(BIG[:1000])
    receiving.abandon()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", _fail_with(errno.EIO))
        with pytest.raises(DiskError, match="input/output error"):
            bench.staging.receive(digest_of(BIG), len(BIG), 1000).write(BIG[1000:])
    assert bench.staging.received(digest_of(BIG))[0] == 0
    assert _receive(bench.staging, BIG, len(BIG))


def test_short_writes_are_completed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:7], at))
    content = bytes(range(256)) * 3
    assert _content(bench.staging.write(F, digest_of(content), content)) == content


def test_discard_leaves_what_is_not_ours(bench: Bench) -> None:
    staged = bench.staging.write(F, digest_of(b"new"), b"new")
    assert staged is not None
    os.rename(staged.name, b"beside", src_dir_fd=staged.directory, dst_dir_fd=staged.directory)
    fd = os.open(staged.name, os.O_CREAT | os.O_WRONLY, dir_fd=staged.directory)
    os.close(fd)
    bench.staging.discard(staged)
    assert os.fsdecode(staged.name) in bench.staged_names()


def test_recovery_tells_ours_from_somebodys(bench: Bench) -> None:
    bench.staging.write(F, digest_of(b"new"), b"new")
    bench.staging.link(F, b"target")
    bench.staging.directory(F)
    _receive(bench.staging, b"whole", 5)
    partial = bench.staging.receive(digest_of(b"partial"), 7, 0)
    partial.write(b"par")
    partial.abandon()
    home = bench.state / "staging"
    prefix = path_hash(F).decode()
    (home / f"{prefix}-{digest_of(b'staged').hex()}-1").write_bytes(b"somebody's")
    (home / f"{prefix}-{digest_of(b'staged').hex()}-2").symlink_to("somewhere")
    (home / f"{'0' * 32}-{'0' * 64}-3").write_bytes(b"of an unknown path")
    (home / f"{prefix}-{'0' * 64}-4" / "d").mkdir(parents=True)
    (home / f"{prefix}-{'0' * 64}-4" / "d" / "file").write_bytes(b"in a directory")
    fresh = Staging(bench.root, bench.state)
    strays = fresh.recover(bench.path_of("f"))
    found = {(each.path, entry_at(each.directory, each.name)) for each in strays if each.name[-1:] != b"4"}
    assert {(path, entry.digest if isinstance(entry, File) else entry) for path, entry in found} == {
        (F, digest_of(b"somebody's")),
        (F, Symlink(b"somewhere")),
        (None, digest_of(b"of an unknown path")),
    }
    kept: list[Kept] = []
    (directory,) = [each for each in strays if each.name[-1:] == b"4"]
    bench.kept.keep_all(directory.directory, directory.name, F, kept)
    assert [(each.path, bench.kept_content(each.file)) for each in kept] == [(b"f/d/file", b"in a directory")]
    assert fresh.received(digest_of(b"whole"))[0] == 5
    assert fresh.received(digest_of(b"partial"))[0] == 3
    assert len(os.listdir(home)) == 5
    os.utime(home / (digest_of(b"partial").hex() + ".part"), (1, 1))
    fresh.recover(bench.path_of("f"))
    assert fresh.received(digest_of(b"partial"))[0] == 0
    fresh.close()


def test_what_a_crash_left_half_written_is_nobodys(bench: Bench) -> None:
    """A power cut leaves any part of what was not durable; it must not come back as somebody's version."""
    bench.make("f", b"old")
    staged = bench.staging.write(F, digest_of(b"new"), b"new")
    link = bench.staging.link(F, b"target")
    assert staged is not None
    home = bench.state / "staging"
    os.truncate(home / os.fsdecode(staged.name), 0)
    (home / os.fsdecode(link.name)).unlink()
    (home / os.fsdecode(link.name)).symlink_to("targ")
    fresh = Staging(bench.root, bench.state)
    assert fresh.recover(bench.path_of("f")) == []
    assert os.listdir(home) == []
    fresh.close()


def test_what_is_exposed_may_be_somebodys_after_a_crash(bench: Bench) -> None:
    bench.make("f", b"old")
    staged = bench.staging.write(F, digest_of(b"new"), b"new")
    assert staged is not None
    (bench.state / "staging" / os.fsdecode(bench.staging.expose(staged))).write_bytes(b"old")
    fresh = Staging(bench.root, bench.state)
    (stray,) = fresh.recover(bench.path_of("f"))
    found = entry_at(stray.directory, stray.name)
    assert isinstance(found, File)
    assert (stray.path, found.digest) == (F, digest_of(b"old"))
    fresh.close()
    bench.staging.discard(staged)


@pytest.mark.parametrize("content", [b"new", b"written on"])
def test_what_a_power_cut_brings_back_is_dropped_only_as_it_was_staged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """The move to its place was not durable; what somebody wrote to it there was."""
    real, moves = syscalls.rename_noreplace, []

    def rename_noreplace(*arguments: Any) -> None:
        moves.append(arguments)
        real(*arguments)

    monkeypatch.setattr(syscalls, "rename_noreplace", rename_noreplace)
    assert isinstance(bench.apply_one(bench.prepare("f", None, file_entry(b"new"), b"new")), Done)
    bench.at("f").write_bytes(content)
    ((_, name, _, _),) = moves
    bench.at("f").rename(bench.state / "staging" / os.fsdecode(name))
    fresh = Staging(bench.root, bench.state)
    strays = fresh.recover(bench.path_of("f"))
    fresh.close()
    assert [stray.path for stray in strays] == ([] if content == b"new" else [b"f"])
    assert len(bench.staged_names()) == len(strays)


def test_the_directory_in_the_root_is_found_again_after_a_crash(far_bench: Bench) -> None:
    bench = far_bench
    staged = bench.staging.write(F, digest_of(b"new"), b"new")
    (hidden,) = os.listdir(bench.directory)
    assert bench.at(hidden).stat().st_mode & 0o777 == 0o700
    fresh = Staging(bench.root, bench.state)
    assert fresh.is_staging(RelPath(os.fsencode(hidden)))
    assert fresh.recover(bench.path_of("f")) == []
    fresh.tidy()
    fresh.close()
    assert os.listdir(bench.directory) == []
    assert staged is not None
    bench.staging.discard(staged)


def test_the_directory_in_the_root_stays_in_use_once_it_was_chosen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that failed for a moment at one start made it; what was staged in it is known at the next."""
    monkeypatch.setattr(staging_area, "can_rename_between", lambda *_: False)
    chosen = Staging(bench.root, bench.state)
    assert chosen.write(F, digest_of(b"new"), b"new") is not None
    monkeypatch.undo()
    (hidden,) = os.listdir(bench.directory)
    fresh = Staging(bench.root, bench.state)
    assert fresh.is_staging(RelPath(os.fsencode(hidden)))
    assert fresh.recover(bench.path_of("f")) == []
    fresh.close()
    chosen.close()
    assert os.listdir(bench.directory) == []


def test_nothing_is_received_once_the_staging_area_is_closed(bench: Bench) -> None:
    staging = Staging(bench.root, bench.state)
    receiving = staging.receive(digest_of(b"late"), 4, 0)
    staging.close()
    with pytest.raises(DiskError):
        receiving.write(b"late")


@pytest.mark.parametrize("how", ["written", "being written", "nobody"])
def test_what_somebody_has_written_to_in_the_tree_is_not_dropped(bench: Bench, how: str) -> None:
    """It came back to the staging area because the way back of a surprise failed half-way."""
    staged = bench.staging.write(F, digest_of(b"given"), b"given")
    assert staged is not None
    name = bench.state / "staging" / os.fsdecode(bench.staging.expose(staged))
    if how == "written":
        name.write_bytes(b"gone on from")
    with name.open("rb" if how == "nobody" else "ab"):
        bench.staging.discard(staged)
    assert name.exists() is (how != "nobody")
    name.unlink(missing_ok=True)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_where_is_staged_does_not_change_with_a_disk_that_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What a crash has left is looked for where it was staged."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    left = bench.state / "staging" / f"{path_hash(F).decode()}-00-00000000"
    left.write_bytes(b"somebody's")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        staging = Staging(bench.root, bench.state)
    (stray,) = staging.recover(bench.path_of("f"))
    assert (stray.path, stray.name) == (F, os.fsencode(left.name))
    staging.close()
    left.unlink()


def test_a_mount_is_found_out_without_leaving_a_trace(bench: Bench, tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    assert syscalls.can_rename_between(here, bench.root.fd)
    memory = Path("/dev/shm")
    if memory.is_dir() and memory.stat().st_dev != tmp_path.stat().st_dev:
        there = os.open(memory, os.O_RDONLY)
        assert not syscalls.can_rename_between(there, bench.root.fd)
        os.close(there)
    os.close(here)
    assert os.listdir(bench.directory) == []


blocks = st.lists(st.one_of(st.integers(1, 150_000).map(bytes), st.binary(min_size=1, max_size=2_000)), max_size=8)


@given(parts=blocks)
def test_what_is_written_sparse_reads_the_same(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "sparse"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        writer = SparseWriter(fd)
        for part in parts:
            writer.write(part)
        writer.finish()
        content = b"".join(parts)
        assert path.read_bytes() == content
        assert read_whole(fd, len(content)).digest == digest_of(content)
    finally:
        os.close(fd)


def test_what_is_at_hand_has_its_time_and_bits_when_it_is_staged(bench: Bench) -> None:
    intended = File(digest_of(b"new"), 3, 10**18 + 1, 0o640)
    staged = bench.staging.write(F, intended.digest, b"new", intended)
    assert staged is not None
    assert staged.is_dressed
    status = lstat_at(staged.directory, staged.name)
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (10**18 + 1, 0o640)
    assert staged.lasting_stat == fingerprint_of(status)


@pytest.mark.parametrize("mode", [0o777, 0o666, 0o200, 0o000, 0o644])
def test_what_is_staged_has_bits_that_new_files_do_not_get(bench: Bench, mode: int) -> None:
    intended = File(digest_of(b"new"), 3, 10**18 + 1, mode)
    before = os.umask(0o077)
    try:
        staged = bench.staging.write(F, intended.digest, b"new", intended)
    finally:
        os.umask(before)
    assert staged is not None
    assert staged.lasting_stat == fingerprint_of(lstat_at(staged.directory, staged.name))
    assert stat.S_IMODE(staged.stat.mode) == mode


def test_what_gets_its_time_and_bits_later_has_no_lasting_stat(bench: Bench) -> None:
    staged = bench.staging.write(F, digest_of(b"new"), b"new")
    assert staged is not None
    assert staged.lasting_stat is None
