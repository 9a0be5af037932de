"""Spool files: durable and verified before anybody is told, gone when no row names them."""

import os

import pytest
from blake3 import blake3

from dirsync.disk.spool import Spool
from dirsync.errors import DiskError
from dirsync.limits import CHUNK_BYTES


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def names(spool):
    return sorted(os.listdir(spool._directory))


def written(spool, *chunks):
    file = spool.create()
    for chunk in chunks:
        file.write(chunk)
    assert file.finish(blake3(b"".join(chunks)).digest())
    return file.name


def test_content_comes_back_in_bounded_chunks(spool):
    content = os.urandom(2 * CHUNK_BYTES + 1)
    name = written(spool, content[:10], content[10:])
    chunks = list(spool.read(name))
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= CHUNK_BYTES


def test_an_empty_content_is_a_file_too(spool):
    assert list(spool.read(written(spool))) == []


def test_what_is_not_what_was_announced_is_removed(spool):
    file = spool.create()
    file.write(b"something else")
    assert not file.finish(blake3(b"announced").digest())
    assert names(spool) == []


def test_what_is_abandoned_is_removed_once(spool):
    file = spool.create()
    file.write(b"half")
    file.abandon()
    file.abandon()
    assert names(spool) == []


def test_abandoning_what_was_finished_removes_nothing(spool):
    file = spool.create()
    assert file.finish(blake3(b"").digest())
    file.abandon()
    assert names(spool) == [file.name]


def test_a_sweep_removes_exactly_what_no_row_names(spool):
    kept, dropped = written(spool, b"kept"), written(spool, b"dropped")
    spool.sweep(frozenset([kept]))
    assert names(spool) == [kept]
    spool.remove([dropped, kept])
    assert names(spool) == []


def test_nobody_else_may_read_it(spool):
    name = written(spool, b"private")
    assert os.stat(spool._directory).st_mode & 0o777 == 0o700
    assert os.stat(spool._directory / name).st_mode & 0o777 == 0o600


def test_a_missing_file_and_a_missing_directory_are_disk_errors(spool):
    with pytest.raises(DiskError, match="cannot be read"):
        list(spool.read("nothing"))
    os.rmdir(spool._directory)
    with pytest.raises(DiskError, match="cannot be written"):
        spool.create()
    with pytest.raises(DiskError, match="cannot be listed"):
        spool.sweep(frozenset())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_disk_error(spool):
    file = spool.create()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._fd)
    os.close(full)
    with pytest.raises(DiskError, match="No space left"):
        file.write(b"x")
    file.abandon()
    assert names(spool) == []


def test_an_error_of_close_is_not_the_end(spool, monkeypatch):
    """After a good sync it says nothing new, and what is abandoned goes anyway."""
    real = os.close

    def close(fd):
        real(fd)
        raise OSError(5, "broken")

    done, abandoned = spool.create(), spool.create()
    done.write(b"1")
    abandoned.write(b"2")
    monkeypatch.setattr("dirsync.disk.spool._sync_directory", lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", close)
        assert done.finish(blake3(b"1").digest())
        abandoned.abandon()
    assert names(spool) == [done.name]
    assert list(spool.read(done.name)) == [b"1"]
