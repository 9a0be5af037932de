import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dirsync.core.entry import Directory, File, Problem, Symlink, Untracked
from dirsync.core.paths import RelPath
from dirsync.disk import probe as probe_module
from dirsync.disk.probe import Gone, Settled, Unsettled, probe
from dirsync.disk.reading import Reading, digest_of
from dirsync.disk.syscalls import give_back_lease, is_open_for_writing, take_read_lease
from dirsync.errors import DiskError
from dirsync.limits import INLINE_BYTES_MAX
from tests.disk.bench import OLD_NS, Bench, file_entry

F = RelPath(b"f")


def test_what_can_stand_at_a_path(bench: Bench) -> None:
    bench.make("f", b"content", 0o640)
    bench.at("d").mkdir(mode=0o750)
    bench.at("l").symlink_to("f")
    os.utime(bench.at("l"), ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    found = probe(bench.root, F, None, is_content_wanted=True)
    assert isinstance(found, Settled)
    assert found.entry == file_entry(b"content", mode=0o640)
    assert found.content == b"content"
    for path, entry in ((b"d", Directory(0o750)), (b"l", Symlink(b"f"))):
        found = probe(bench.root, RelPath(path), None)
        assert isinstance(found, Settled)
        assert found.entry == entry
    assert probe(bench.root, RelPath(b"none"), None) == Gone()
    assert probe(bench.root, RelPath(b"f/below"), None) == Gone()
    assert probe(bench.root, RelPath(b"l/below"), None) == Gone()
    assert probe(bench.root, RelPath(b"none/below"), None) == Gone()


def test_what_is_not_carried_is_never_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(bench.at("fifo"))
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(bench.directory):
        listener.bind("socket")
    real = os.open
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda path, *a, **k: (opened.append(path), real(path, *a, **k))[1])
    for name in (b"fifo", b"socket"):
        assert isinstance(probe(bench.root, RelPath(name), None, is_forced=True, must_read=True), Untracked)
    assert opened == []


def test_a_fifo_that_takes_the_place_of_a_file_does_not_block(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f")
    real = probe_module.lstat_at

    def intrude(directory: int, name: bytes) -> os.stat_result:
        status = real(directory, name)
        if bench.at("f").is_file():
            bench.at("f").unlink()
            os.mkfifo(bench.at("f"))
        return status

    monkeypatch.setattr(probe_module, "lstat_at", intrude)
    assert isinstance(probe(bench.root, F, None), Unsettled)


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    real = probe_module.read_whole
    sizes: list[int] = []

    def counted(fd: int, size: int, *rest: object) -> Reading:
        sizes.append(size)
        return real(fd, size, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(probe_module, "read_whole", counted)
    return sizes


def test_what_a_stat_proves_is_not_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    reads = _count_reads(monkeypatch)
    found = probe(bench.root, F, known)
    assert isinstance(found, Settled)
    assert (found.entry, found.is_confirmed, reads) == (known.entry, True, [])
    probe(bench.root, F, known, must_read=True)
    assert set(reads) == {3}  # twice where its last change is that young
    reads.clear()
    racy = known._replace(looked_ns=known.fingerprint.ctime_ns)
    probe(bench.root, F, racy)
    assert set(reads) == {3}


def test_new_bits_alone_are_told_before_the_content_is_confirmed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    reads = _count_reads(monkeypatch)
    bench.at("f").chmod(0o755)
    found = probe(bench.root, F, known)
    assert isinstance(found, Settled)
    assert (found.entry, found.is_confirmed, reads) == (file_entry(b"old", mode=0o755), False, [])
    found = probe(bench.root, F, known, must_read=True)
    assert isinstance(found, Settled)
    assert (found.entry, found.is_confirmed) == (file_entry(b"old", mode=0o755), True)


def test_what_the_file_system_could_not_hold_is_no_change(bench: Bench) -> None:
    known = bench.make("f")
    intended = file_entry(b"old", OLD_NS + 1, 0o600)
    found = probe(bench.root, F, known._replace(entry=intended), must_read=True)
    assert isinstance(found, Settled)
    assert found.entry == intended


def test_content_comes_along_only_where_it_is_small(bench: Bench) -> None:
    for size, is_small in ((0, True), (INLINE_BYTES_MAX, True), (INLINE_BYTES_MAX + 1, False)):
        bench.make("f", b"x" * size)
        found = probe(bench.root, F, None, is_content_wanted=True)
        assert isinstance(found, Settled)
        assert (found.content is not None) == is_small
        plain = probe(bench.root, F, None)
        assert isinstance(plain, Settled)
        assert plain.content is None


def test_an_open_writer_in_another_process(bench: Bench) -> None:
    bench.make("f", b"content")
    script = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(bench.at("f"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        found = probe(bench.root, F, None)
        assert isinstance(found, Unsettled)
        assert found.has_writer
        assert found.standing.size == 7
        forced = probe(bench.root, F, None, is_forced=True)
        assert isinstance(forced, Settled)
        assert forced.entry == file_entry(b"content")
        writer.stdin.close()
    assert isinstance(probe(bench.root, F, None), Settled)


def test_an_open_file_is_read_while_it_is_what_it_was_when_it_became_quiet_and_no_longer(bench: Bench) -> None:
    bench.make("f", b"half")
    with bench.at("f").open("ab", buffering=0) as writer:
        found = probe(bench.root, F, None)
        assert isinstance(found, Unsettled)
        settled = probe(bench.root, F, None, quiet=found.fingerprint)
        assert isinstance(settled, Settled)
        assert settled.entry == file_entry(b"half")
        writer.write(b" and more")
        assert isinstance(probe(bench.root, F, None, quiet=found.fingerprint), Unsettled)


def test_a_lease_makes_a_writer_wait_and_its_breaking_harms_nobody(bench: Bench) -> None:
    bench.make("f")
    fd = os.open(bench.at("f"), os.O_RDONLY)
    assert is_open_for_writing(fd) is False
    assert take_read_lease(fd)
    assert signal.getsignal(signal.SIGIO) is signal.SIG_DFL
    with pytest.raises(BlockingIOError):
        os.open(bench.at("f"), os.O_WRONLY | os.O_NONBLOCK)  # breaks the lease: a signal comes
    give_back_lease(fd)
    os.close(fd)
    bench.at("f").write_bytes(b"x")


def _write_while_read(bench: Bench, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    real = probe_module.read_whole

    def read(fd: int, size: int, *rest: object) -> Reading:
        reading = real(fd, size, *rest)  # type: ignore[arg-type]
        assert callable(write)
        write()
        return reading

    monkeypatch.setattr(probe_module, "read_whole", read)


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_change_while_it_is_read_is_unsettled(bench: Bench, monkeypatch: pytest.MonkeyPatch, is_forced: bool) -> None:
    bench.make("f", b"old")
    _write_while_read(bench, monkeypatch, lambda: bench.at("f").write_bytes(b"new"))
    assert isinstance(probe(bench.root, F, None, is_forced=is_forced), Unsettled)


def test_a_replacement_while_it_is_read_is_unsettled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f", b"old")

    def replace_it() -> None:
        bench.at("editor").write_bytes(b"new")
        bench.at("editor").rename(bench.at("f"))

    _write_while_read(bench, monkeypatch, replace_it)
    assert isinstance(probe(bench.root, F, None), Unsettled)


def test_a_file_removed_while_it_is_read_is_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f", b"old")
    _write_while_read(bench, monkeypatch, lambda: bench.at("f").unlink())
    assert probe(bench.root, F, None) == Gone()


def test_a_writer_that_came_while_it_was_read_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f", b"old")
    writers = []
    _write_while_read(bench, monkeypatch, lambda: writers.append(bench.at("f").open("ab")))
    found = probe(bench.root, F, None)
    writers[0].close()
    assert isinstance(found, Unsettled)
    assert found.has_writer


@pytest.mark.parametrize("is_captured", [False, True])
def test_a_file_that_is_rewritten_while_it_is_read_within_one_tick_is_unsettled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_captured: bool
) -> None:
    """The same length, the same stamps, and nobody has it open any more."""
    bench.make("f", b"old old")
    now, exact, pread, parts = time.time_ns(), probe_module.fingerprint_of, os.pread, []
    monkeypatch.setattr(
        probe_module, "fingerprint_of", lambda status: exact(status)._replace(mtime_ns=now, ctime_ns=now)
    )

    def read_in_two(fd: int, size: int, offset: int) -> bytes:
        parts.append(pread(fd, size if parts else 3, offset))
        if len(parts) == 1:
            bench.at("f").write_bytes(b"new new")
        return parts[-1]

    monkeypatch.setattr(os, "pread", read_in_two)
    copy = tmp_path / "copy" if is_captured else None
    assert isinstance(probe(bench.root, F, None, capture_to=copy), Unsettled)
    assert b"".join(parts[:2]) == b"old new"
    found = probe(bench.root, F, None, capture_to=copy)
    assert isinstance(found, Settled)
    assert isinstance(found.entry, File)
    assert found.entry.digest == digest_of(b"new new")


def test_a_file_that_only_grows_can_be_sampled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f", b"line 1\n")
    with bench.at("f").open("ab", buffering=0) as writer:
        _write_while_read(bench, monkeypatch, lambda: writer.write(b"line 2\n"))
        assert isinstance(probe(bench.root, F, None), Unsettled)
        size = bench.at("f").stat().st_size
        found = probe(bench.root, F, None, is_forced=True)
        assert isinstance(found, Settled)
        assert isinstance(found.entry, File)
        assert not found.is_confirmed
        assert found.entry.digest == digest_of(bench.at("f").read_bytes()[:size])


def test_a_capture_holds_the_very_bytes(bench: Bench, tmp_path: Path) -> None:
    content = b"\1" * 100_000 + bytes(3_000_000) + b"\2" * 70_000 + bytes(500_000)
    known = bench.make("f", content)
    copy = tmp_path / "copy"
    found = probe(bench.root, F, known, capture_to=copy)
    assert isinstance(found, Settled)
    assert found.entry == file_entry(content)
    assert copy.read_bytes() == content
    status = copy.stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, len(content))
    assert status.st_blocks * 512 < 400_000


def test_a_capture_that_did_not_settle_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.make("f")
    copy = tmp_path / "copy"
    _write_while_read(bench, monkeypatch, lambda: bench.at("f").write_bytes(b"newer"))
    assert isinstance(probe(bench.root, F, None, capture_to=copy), Unsettled)
    assert not copy.exists()
    bench.at("d").mkdir()
    assert isinstance(probe(bench.root, RelPath(b"d"), None, capture_to=copy), Settled)
    assert not copy.exists()


def test_a_capture_that_cannot_be_written_is_told_apart(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.make("f")
    with pytest.raises(DiskError, match="its directory does not exist"):
        probe(bench.root, F, None, capture_to=tmp_path / "none" / "copy")

    def refuse(*_: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(DiskError, match="no space left"):
        probe(bench.root, F, None, capture_to=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_cannot_be_read_is_a_problem(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make("f")

    def refuse(*_: object) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(os, "pread", refuse)
    assert probe(bench.root, F, None) == Problem("the disk reported an input/output error")


def test_a_file_of_which_nobody_has_the_rights(bench: Bench) -> None:
    bench.make("f", mode=0o000)
    if os.geteuid() != 0:
        assert probe(bench.root, F, None) == Problem("permission denied")
        return
    os.chmod(bench.directory, 0o755)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(0 if probe(bench.root, F, None) == Problem("permission denied") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_torn_reads_never_settle(bench: Bench) -> None:
    """A writer that rewrites in place, open for a moment each time: what settles was whole."""
    bench.make("f", b"a" * 300_000)
    script = (
        "import sys, os\n"
        "for n in range(300):\n"
        "    with open(sys.argv[1], 'r+b', buffering=0) as f:\n"
        "        for at in range(0, 300_000, 30_000):\n"
        "            os.pwrite(f.fileno(), bytes([97 + n % 26]) * 30_000, at)\n"
    )
    whole = {digest_of(bytes([97 + n]) * 300_000) for n in range(26)}
    with subprocess.Popen([sys.executable, "-c", script, str(bench.at("f"))]) as writer:
        while writer.poll() is None:
            found = probe(bench.root, F, None)
            if isinstance(found, Settled):
                assert isinstance(found.entry, File)
                assert found.entry.digest in whole
    last = probe(bench.root, F, None)
    assert isinstance(last, Settled)
    assert isinstance(last.entry, File)
    assert last.entry.digest in whole
