import os

import pytest

from dirsync.core.entry import Symlink
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.disk.kept import Kept, path_hash
from dirsync.errors import DiskError
from tests.disk.bench import Bench, failing_at_first, file_entry

F = RelPath(b"f")


def _kept(bench: Bench, content: bytes = b"old") -> Kept:
    known = bench.make("f", content)
    kept: list[Kept] = []
    made = bench.kept.keep(bench.root.fd, b"f", F, known.entry, kept)
    assert kept == [made]
    assert made.entry == known.entry
    return made


def _keep(bench: Bench, content: bytes = b"old") -> str:
    return _kept(bench, content).file


def test_a_kept_file_is_read_and_removed(bench: Bench) -> None:
    file = _keep(bench)
    assert not bench.at("f").exists()
    assert bench.kept_content(file) == b"old"
    bench.kept.remove(file)
    bench.kept.remove(file)
    assert bench.kept.files() == set()
    with pytest.raises(DiskError):
        bench.kept.open(file)


def test_two_of_one_path_are_two_files(bench: Bench) -> None:
    one, two = _keep(bench, b"one"), _keep(bench, b"two")
    assert (bench.kept_content(one), bench.kept_content(two)) == (b"one", b"two")
    assert one.startswith(path_hash(F).decode())


def test_orphans_are_what_no_record_names(bench: Bench) -> None:
    recorded, orphan = _keep(bench, b"one"), _keep(bench, b"two")
    bench.make("unknown")
    bench.kept.keep(bench.root.fd, b"unknown", RelPath(b"unknown"), file_entry(b"old"), [])
    assert bench.kept.orphans({recorded}, bench.path_of("f")) == [Kept(orphan, file_entry(b"two"), F, Why.REPLACED)]


def test_a_link_is_kept_across_file_systems(far_bench: Bench) -> None:
    bench = far_bench
    bench.at("f").symlink_to("target")
    kept = bench.kept.keep(bench.root.fd, b"f", F, Symlink(b"target"), [])
    assert kept.entry == Symlink(b"target")
    assert os.readlink(bench.state / "versions" / kept.file) == "target"
    assert not bench.at("f").is_symlink()


def test_a_link_that_cannot_be_kept_durably_leaves_nothing(far_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    far_bench.at("f").symlink_to("target")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        far_bench.kept.keep(far_bench.root.fd, b"f", F, Symlink(b"target"), [])
    assert far_bench.kept.files() == set()
    assert far_bench.at("f").is_symlink()


def test_a_content_that_cannot_be_synced_leaves_the_others_and_the_names_durable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = _kept(bench, b"one"), _kept(bench, b"two")
    synced = _synced(bench, monkeypatch, broken.file)
    with pytest.raises(OSError, match="Input/output"):
        bench.kept.sync([broken, whole])
    assert synced == [broken.file, whole.file, "the directory"]


def test_nobody_elses_sync_takes_the_error_of_a_content_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, whole = _kept(bench, b"one"), _kept(bench, b"two")
    synced = _synced(bench, monkeypatch, broken.file)
    bench.kept.sync([])
    bench.kept.sync([whole])
    assert synced == ["the directory", whole.file, "the directory"]
    with pytest.raises(OSError, match="Input/output"):
        bench.kept.sync([broken])


def _synced(bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: str) -> list[str]:
    """Have the syncs of one kept file fail; return the list in which all syncs will be."""
    files = {path.stat().st_ino: path.name for path in (bench.state / "versions").iterdir()}
    synced: list[str] = []

    def fsync(fd: int) -> None:
        name = files.get(os.fstat(fd).st_ino, "the directory")
        synced.append(name)
        if name == broken:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def test_a_copy_that_differs_says_what_it_is(far_bench: Bench) -> None:
    bench = far_bench
    bench.make("f", b"longer than expected")
    kept = bench.kept.keep(bench.root.fd, b"f", F, file_entry(b"old"), [])
    assert kept.entry == file_entry(b"longer than expected")
    assert bench.kept_content(kept.file) == b"longer than expected"


def test_the_second_look_reads_only_what_changed(bench: Bench) -> None:
    file = _keep(bench)
    path = bench.state / "versions" / file
    assert bench.kept.second_look(file, file_entry(b"old")) == file_entry(b"old")
    path.write_bytes(b"late")
    found = bench.kept.second_look(file, file_entry(b"old"))
    assert found == file_entry(b"late", path.stat().st_mtime_ns)


@pytest.mark.parametrize("how", ["looked at again", "left by a crash"])
def test_what_was_written_after_it_was_kept_is_durable_before_it_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    file = _keep(bench)
    path = bench.state / "versions" / file
    path.write_bytes(b"late")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    if how == "looked at again":
        found = bench.kept.as_it_is(file, file_entry(b"old"))
    else:
        (orphan,) = bench.kept.orphans(set(), bench.path_of("f"))
        found = orphan.entry
    assert found == file_entry(b"late", path.stat().st_mtime_ns)
    assert synced == [path.stat().st_ino]


class _Killed(BaseException):
    """The server ends here."""


def test_a_copy_that_a_crash_cut_short_is_no_version(far_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = far_bench
    bench.make("f", b"old")

    def die(fd: int, data: bytes, at: int) -> int:
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", die)
        with pytest.raises(_Killed):
            bench.kept.keep(bench.root.fd, b"f", F, file_entry(b"old"), [])
    assert len(bench.kept.files()) == 1
    assert bench.kept.orphans(set(), bench.path_of("f")) == []
    assert bench.kept.files() == set()
    assert bench.at("f").read_bytes() == b"old"


def test_what_a_program_has_open_when_its_copy_begins_waits_whatever_the_stat_says(
    far_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes within the tick of its last write, and then closes, shows in no stat."""
    bench = far_bench
    known = bench.make("f")
    with bench.at("f").open("ab") as writer:
        monkeypatch.setattr("dirsync.disk.kept.copy_content", lambda *_, **__: writer.close() or (b"", 0))
        with pytest.raises(OSError, match="open for writing"):
            bench.kept.keep(bench.root.fd, b"f", RelPath(b"f"), known.entry, [])
    assert bench.at("f").exists()


def test_a_copy_that_cannot_get_its_name_leaves_nothing(far_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = far_bench
    bench.make("f", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            bench.kept.keep(bench.root.fd, b"f", F, file_entry(b"old"), [])
    assert bench.kept.files() == set()
    assert bench.at("f").read_bytes() == b"old"


@pytest.mark.parametrize("failing", [1, 2], ids=["the original", "then the copy, too"])
def test_a_copy_whose_original_cannot_be_removed_is_removed_or_known(
    far_bench: Bench, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """What nobody knew of, and whose path is forgotten by the next start, would be listed there without a name."""
    bench = far_bench
    known = bench.make("f", b"old")
    kept: list[Kept] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing_at_first(os.unlink, failing))
        with pytest.raises(OSError, match="Input/output"):
            bench.kept.keep(bench.root.fd, b"f", F, known.entry, kept, Why.DELETED)
    assert bench.at("f").read_bytes() == b"old"
    assert bench.kept.files() == {each.file for each in kept}
    assert [(each.entry, each.path, each.why) for each in kept] == [(known.entry, F, Why.DELETED)] * (failing - 1)


def test_a_copy_has_its_name_durably_before_the_original_goes(
    far_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = far_bench
    bench.make("f", b"old")
    synced: list[tuple[str, ...]] = []
    real = os.fsync

    def sync(fd: int) -> None:
        real(fd)
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), *bench.kept.files(), str(bench.at("f").exists())))

    monkeypatch.setattr(os, "fsync", sync)
    kept = bench.kept.keep(bench.root.fd, b"f", F, file_entry(b"old"), [])
    home = str(bench.state / "versions")
    assert synced == [(f"{home}/new-{kept.file}", f"new-{kept.file}", "True"), (home, kept.file, "True")]
