import errno
import os
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dirsync.core.entry import Directory, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Failed, Refused
from dirsync.core.versions import Why
from dirsync.disk import durability, guard, swap, syscalls
from dirsync.disk.apply import Done, Prepared
from dirsync.disk.probe import Settled, probe
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.errors import RootLost
from tests.disk.bench import OLD_NS, Bench, failing_at_first, file_entry

NEW = file_entry(b"new", OLD_NS + 1, 0o600)


def test_a_new_file_arrives_whole_with_its_metadata(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("n", None, NEW, b"new"))
    assert isinstance(done, Done)
    assert (done.entry, done.kept) == (NEW, None)
    status = bench.at("n").stat()
    assert bench.at("n").read_bytes() == b"new"
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (OLD_NS + 1, 0o600)
    assert bench.staged_names() == []


def test_what_was_replaced_is_kept(bench: Bench) -> None:
    known = bench.make("f")
    done = bench.apply_one(bench.prepare("f", known, NEW, b"new"))
    assert isinstance(done, Done)
    assert bench.at("f").read_bytes() == b"new"
    assert done.kept is not None
    assert (done.kept.entry, done.kept.path, done.kept.why) == (known.entry, b"f", Why.REPLACED)
    assert bench.kept_content(done.kept.file) == b"old"
    assert bench.kept.files() == {done.kept.file}


def test_the_loser_of_a_conflict_is_kept_as_such(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("f", bench.make("f"), NEW, b"new", is_conflict=True))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert done.kept.why is Why.CONFLICT


def test_what_we_put_there_is_proven_by_its_stat(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("f", bench.make("f"), NEW, b"new"))
    assert isinstance(done, Done)
    assert done.known is not None
    found = probe(bench.root, RelPath(b"f"), done.known)
    assert isinstance(found, Settled)
    assert found.looked_ns == done.known.looked_ns  # so it was not read again


def test_what_is_as_young_as_its_own_write_is_not_proven(bench: Bench) -> None:
    young = file_entry(b"new", time.time_ns() + 10**9)
    done = bench.apply_one(bench.prepare("f", None, young, b"new"))
    assert isinstance(done, Done)
    assert done.known is not None
    assert done.known.entry == young
    assert not done.known.is_proven_by(done.known.fingerprint)


def test_a_deleted_file_is_kept(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("f", bench.make("f"), None))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert done.kept.why is Why.DELETED
    assert bench.kept_content(done.kept.file) == b"old"
    assert not bench.at("f").exists()


@pytest.mark.parametrize("intended", [NEW, None])
def test_an_edit_before_the_apply_is_refused(bench: Bench, intended: File | None) -> None:
    known = bench.make("f")
    prepared = bench.prepare("f", known, intended, b"new")
    bench.at("f").write_bytes(b"edited")
    refused = bench.apply_one(prepared)
    assert isinstance(refused, Refused)
    assert isinstance(refused.found, File)
    assert refused.found.digest == file_entry(b"edited").digest
    assert bench.at("f").read_bytes() == b"edited"
    assert bench.staged_names() == []
    assert bench.kept.files() == set()


@pytest.mark.parametrize("intended", [NEW, None])
def test_a_vanished_file_is_refused(bench: Bench, intended: File | None) -> None:
    known = bench.make("f")
    bench.at("f").unlink()
    assert bench.apply_one(bench.prepare("f", known, intended, b"new")) == Refused(None)


def test_a_deletion_below_a_directory_that_is_gone_is_done(bench: Bench) -> None:
    outcome = bench.apply_one(bench.prepare("gone/f", None, None))
    assert outcome == Done(None, None, None)


def test_a_name_that_appeared_is_refused(bench: Bench) -> None:
    prepared = bench.prepare("f", None, NEW, b"new")
    theirs = bench.make("f", b"theirs")
    assert bench.apply_one(prepared) == Refused(theirs.entry)
    assert bench.at("f").read_bytes() == b"theirs"


class Intruder:
    """Acts just before the nth call of a rename, then lets it through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *actions: object) -> None:
        self._real = getattr(syscalls, name)
        self._actions = list(actions)
        monkeypatch.setattr(syscalls, name, self._call)

    def _call(self, *arguments: object) -> None:
        action = self._actions.pop(0) if self._actions else None
        if callable(action):
            action()
        self._real(*arguments)


def _rewrite(path: Path, content: bytes) -> None:
    beside = path.with_name("editor")
    beside.write_bytes(content)
    beside.rename(path)


def test_an_edit_between_check_and_exchange_is_put_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    Intruder(monkeypatch, "rename_exchange", lambda: _rewrite(bench.at("f"), b"edited"))
    refused = bench.apply_one(bench.prepare("f", known, NEW, b"new"))
    assert isinstance(refused, Refused)
    assert isinstance(refused.found, File)
    assert refused.found.digest == file_entry(b"edited").digest
    assert bench.at("f").read_bytes() == b"edited"
    assert bench.staged_names() == []


@pytest.mark.parametrize(
    ("intended", "call"), [(NEW, "rename_exchange"), (None, "rename")], ids=["replaced", "deleted"]
)
def test_what_was_put_back_is_made_durable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, intended: File | None, call: str
) -> None:
    """After a power cut what was to take its place could stand there."""
    known = bench.make("f")
    synced: list[set[RelPath]] = []
    real = durability.sync_directories

    def sync_directories(root: Root, directories: set[RelPath]) -> dict[RelPath, OSError]:
        synced.append(directories)
        return real(root, directories)

    monkeypatch.setattr("dirsync.disk.apply.sync_directories", sync_directories)
    if intended is None:
        real_rename = os.rename

        def rename(*places: Any, **directories: Any) -> None:
            if places[0] == b"f":
                _rewrite(bench.at("f"), b"edited")
            real_rename(*places, **directories)

        monkeypatch.setattr(os, call, rename)
    else:
        Intruder(monkeypatch, call, lambda: _rewrite(bench.at("f"), b"edited"))
    assert isinstance(bench.apply_one(bench.prepare("f", known, intended, b"new")), Refused)
    assert bench.at("f").read_bytes() == b"edited"
    assert synced == [{RelPath(b"")}]


def test_a_write_in_place_between_check_and_exchange_is_put_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    Intruder(monkeypatch, "rename_exchange", lambda: bench.at("f").write_bytes(b"eds"))
    assert isinstance(bench.apply_one(bench.prepare("f", known, NEW, b"new")), Refused)
    assert bench.at("f").read_bytes() == b"eds"


def test_new_bits_between_check_and_exchange_are_put_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    Intruder(monkeypatch, "rename_exchange", lambda: bench.at("f").chmod(0o640))
    assert isinstance(bench.apply_one(bench.prepare("f", known, NEW, b"new")), Refused)
    assert stat.S_IMODE(bench.at("f").stat().st_mode) == 0o640


def test_a_second_edit_during_the_putting_back_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    Intruder(
        monkeypatch,
        "rename_exchange",
        lambda: _rewrite(bench.at("f"), b"first"),
        lambda: _rewrite(bench.at("f"), b"second"),
    )
    batch = bench.apply_all(bench.prepare("f", known, NEW, b"new"))
    assert isinstance(batch.outcomes[0], Refused)
    assert bench.at("f").read_bytes() == b"second"
    assert [(each.path, bench.kept_content(each.file)) for each in batch.kept] == [(b"f", b"first")]
    assert bench.staged_names() == []


def test_a_deletion_during_the_putting_back_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    Intruder(monkeypatch, "rename_exchange", lambda: _rewrite(bench.at("f"), b"edited"), lambda: bench.at("f").unlink())
    assert isinstance(bench.apply_one(bench.prepare("f", known, NEW, b"new")), Refused)
    assert bench.at("f").read_bytes() == b"edited"


def test_an_edit_between_check_and_deletion_is_put_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    reserve = Staging.reserve
    monkeypatch.setattr(Staging, "reserve", lambda *a: (_rewrite(bench.at("f"), b"edited"), reserve(*a))[1])
    assert isinstance(bench.apply_one(bench.prepare("f", known, None)), Refused)
    assert bench.at("f").read_bytes() == b"edited"
    assert bench.staged_names() == []


def test_an_edit_whose_directory_goes_during_the_putting_back_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bench.make("d/f")
    reserve = Staging.reserve
    monkeypatch.setattr(Staging, "reserve", lambda *a: (_rewrite(bench.at("d/f"), b"edited"), reserve(*a))[1])
    Intruder(monkeypatch, "rename_noreplace", lambda: bench.at("d").rmdir())
    done = bench.apply_all(bench.prepare("d/f", known, None))
    assert isinstance(done.outcomes[0], Refused)
    assert [(kept.path, bench.kept_content(kept.file)) for kept in done.kept] == [(b"d/f", b"edited")]
    assert bench.staged_names() == []


def test_a_new_file_never_replaces_one_made_at_the_last_moment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    Intruder(monkeypatch, "rename_noreplace", lambda: bench.at("f").write_bytes(b"theirs"))
    assert isinstance(bench.apply_one(bench.prepare("f", None, NEW, b"new")), Refused)
    assert bench.at("f").read_bytes() == b"theirs"


def test_where_nothing_can_be_kept_nothing_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "full")

    known = bench.make("f")
    other = bench.make("g")
    monkeypatch.setattr("dirsync.disk.kept.rename_noreplace", refuse)
    results = bench.apply(bench.prepare("f", known, NEW, b"new"), bench.prepare("g", other, None))
    assert results == [Failed("no space left on the disk")] * 2
    assert (bench.at("f").read_bytes(), bench.at("g").read_bytes()) == (b"old", b"old")
    assert bench.staged_names() == []


def _without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "_renameat2", lambda *_: False)


def test_the_fallbacks_keep_the_same_promises(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_exchange(monkeypatch)
    known, gone = bench.make("f"), bench.make("gone")
    prepared = [bench.prepare("f", known, NEW, b"new"), bench.prepare("gone", gone, None)]
    replaced, deleted = bench.apply(*prepared)
    assert isinstance(replaced, Done)
    assert isinstance(deleted, Done)
    assert replaced.kept is not None
    assert bench.kept_content(replaced.kept.file) == b"old"
    assert bench.at("f").read_bytes() == b"new"
    assert not bench.at("gone").exists()
    created, directory, refused = bench.apply(
        bench.prepare("n", None, NEW, b"new"),
        bench.prepare("d", None, Directory(0o755)),
        bench.prepare("f", None, NEW, b"new"),
    )
    assert isinstance(created, Done)
    assert isinstance(directory, Done)
    assert isinstance(refused, Refused)
    assert bench.staged_names() == []


def test_a_fallback_that_fails_at_its_last_rename_leaves_the_old_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bench.make("f")
    prepared = bench.prepare("f", known, NEW, b"new")
    rename = os.rename

    def fail_aside(source: bytes, target: bytes, **places: int) -> None:
        if source.endswith(b".aside"):
            raise OSError(errno.EIO, "no")
        rename(source, target, **places)

    monkeypatch.setattr(syscalls, "_renameat2", lambda *_: False)
    monkeypatch.setattr(os, "rename", fail_aside)
    assert isinstance(bench.apply_one(prepared), Failed)
    assert bench.at("f").read_bytes() == b"old"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_fallback_that_fails_at_its_last_rename_loses_neither(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """What goes to the tree may be the only copy, too: a surprise that is put back."""
    bench.make("one", b"one's only copy")
    bench.make("two", b"two's only copy")
    rename = os.rename

    def fail_aside(source: bytes, target: bytes, **places: int) -> None:
        if source.endswith(b".aside"):
            raise OSError(errno.EIO, "no")
        rename(source, target, **places)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    _without_exchange(monkeypatch)
    monkeypatch.setattr(os, "rename", fail_aside)
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OSError, match="no"):
        syscalls.rename_exchange(bench.root.fd, b"one", bench.root.fd, b"two")
    left = {path.read_bytes() for path in bench.directory.iterdir()}
    assert left == {b"one's only copy", b"two's only copy"}


@pytest.mark.parametrize("failing", [1, 2], ids=["the old name", "then the new one, too"])
@pytest.mark.parametrize("is_link", [False, True], ids=["file", "link"])
def test_a_fallback_that_cannot_remove_the_old_name_leaves_no_new_one_that_nobody_knows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failing: int, is_link: bool
) -> None:
    """A kept file that is one with the file in the directory would change with it, and nobody would know of it."""
    _without_exchange(monkeypatch)
    if is_link:
        bench.at("f").symlink_to("target")
    prepared = bench.prepare("f", bench.known("f") if is_link else bench.make("f"), None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing_at_first(os.unlink, failing))
        batch = bench.apply_all(prepared)
    assert isinstance(batch.outcomes[0], Failed)
    assert bench.at("f").is_symlink() == is_link
    assert bench.at("f").lstat().st_nlink == 1
    assert bench.kept.files() == {each.file for each in batch.kept}
    assert [(each.entry, each.path) for each in batch.kept] == [(prepared.action.expected, RelPath(b"f"))] * (
        failing - 1
    )


def test_the_fallback_puts_a_surprise_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_exchange(monkeypatch)
    known = bench.make("f")
    Intruder(monkeypatch, "rename_exchange", lambda: _rewrite(bench.at("f"), b"edited"))
    assert isinstance(bench.apply_one(bench.prepare("f", known, NEW, b"new")), Refused)
    assert bench.at("f").read_bytes() == b"edited"


def test_a_file_that_is_being_written_is_left_alone(bench: Bench) -> None:
    known = bench.make("f")
    with bench.at("f").open("r+b"):
        assert bench.apply_one(bench.prepare("f", known, NEW, b"new")) == Failed(
            "some program is writing to it", is_passing=True
        )
    assert isinstance(bench.apply_one(bench.prepare("f", known, NEW, b"new")), Done)


def test_half_of_what_a_program_is_writing_is_not_read_though_the_clock_was_set(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bench.make("f")
    with bench.at("f").open("wb", buffering=0) as writer:
        writer.write(b"half of")
        monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if it had been quiet for long
        for intended, content in ((NEW, b"new"), (file_entry(b"old", OLD_NS, 0o600), None), (None, None)):
            outcome = bench.apply_one(bench.prepare("f", known, intended, content))
            assert outcome == Failed("some program is writing to it", is_passing=True)
    assert bench.at("f").read_bytes() == b"half of"


def test_a_late_write_through_an_old_descriptor_is_seen_in_what_was_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if it had been quiet for long
    known = bench.make("f")
    with bench.at("f").open("ab", buffering=0) as writer:
        real = bench.kept.sync
        monkeypatch.setattr(type(bench.kept), "sync", lambda _, kept: (writer.write(b"+late"), real(kept))[1])
        done = bench.apply_one(bench.prepare("f", known, NEW, b"new"))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert isinstance(done.kept.entry, File)
    assert done.kept.entry.digest == file_entry(b"old+late").digest
    assert bench.kept_content(done.kept.file) == b"old+late"


def test_what_stands_in_a_read_only_directory_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("d/f")
    bench.at("d").chmod(0o555)
    real = syscalls.rename_exchange

    def exchange(*places: Any) -> None:
        """Refuse as the kernel refuses everybody but root."""
        if not bench.at("d").stat().st_mode & stat.S_IWUSR:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(*places)

    monkeypatch.setattr(syscalls, "rename_exchange", exchange)
    done = bench.apply_one(bench.prepare("d/f", known, file_entry(b"new"), b"new"))
    assert isinstance(done, Done)
    assert bench.at("d/f").read_bytes() == b"new"
    assert stat.S_IMODE(bench.at("d").stat().st_mode) == 0o555
    bench.at("d").chmod(0o755)


def test_metadata_changes_in_place_without_a_version(bench: Bench) -> None:
    known = bench.make("f", mode=0o644)
    inode = bench.at("f").stat().st_ino
    assert isinstance(known.entry, File)
    intended = file_entry(b"old", OLD_NS + 5, 0o755)
    done = bench.apply_one(bench.prepare("f", known, intended))
    assert isinstance(done, Done)
    assert done.kept is None
    status = bench.at("f").stat()
    assert (status.st_ino, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (inode, OLD_NS + 5, 0o755)
    assert done.known is not None
    assert done.known.is_proven_by(bench.known("f").fingerprint)


def test_metadata_of_an_edited_file_is_refused(bench: Bench) -> None:
    known = bench.make("f")
    bench.at("f").write_bytes(b"edited")
    assert isinstance(bench.apply_one(bench.prepare("f", known, file_entry(b"old", mode=0o755))), Refused)


def test_metadata_is_not_given_to_what_replaced_the_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = bench.make("f")
    real = guard.take_read_lease

    def intrude(fd: int) -> bool | None:
        _rewrite(bench.at("f"), b"edited")
        return real(fd)

    monkeypatch.setattr(guard, "take_read_lease", intrude)
    outcome = bench.apply_one(bench.prepare("f", known, file_entry(b"old", OLD_NS, 0o700)))
    assert isinstance(outcome, Refused)
    assert stat.S_IMODE(bench.at("f").stat().st_mode) != 0o700


def test_special_bits_are_not_taken_and_not_dropped(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("new", None, file_entry(b"x", mode=0o6755), b"x"))
    assert isinstance(done, Done)
    assert stat.S_IMODE(bench.at("new").stat().st_mode) == 0o755
    bench.at("d").mkdir()
    bench.at("d").chmod(0o2755)
    bench.apply_one(bench.prepare("d", bench.known("d"), Directory(0o700)))
    assert stat.S_IMODE(bench.at("d").stat().st_mode) == 0o2700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_a_replaced_file_stays(bench: Bench) -> None:
    bench.make("f")
    os.chown(bench.at("f"), 1234, 1235)
    assert isinstance(bench.apply_one(bench.prepare("f", bench.known("f"), NEW, b"new")), Done)
    status = bench.at("f").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 1235, 0o600)


def test_a_directory_comes_changes_and_goes(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("d", None, Directory(0o750)))
    assert isinstance(done, Done)
    assert stat.S_IMODE(bench.at("d").stat().st_mode) == 0o750
    assert done.known is not None
    assert isinstance(bench.apply_one(bench.prepare("d", done.known, Directory(0o500))), Done)
    assert stat.S_IMODE(bench.at("d").stat().st_mode) == 0o500
    assert isinstance(bench.apply_one(bench.prepare("d", bench.known("d"), None)), Done)
    assert not bench.at("d").exists()


def test_a_directory_that_holds_something_stays(bench: Bench) -> None:
    bench.make("d/inside")
    known = bench.known("d")
    assert bench.apply_one(bench.prepare("d", known, None)) == Failed("the directory is not empty", is_passing=True)
    assert bench.apply_one(bench.prepare("d", known, NEW, b"new")) == Failed(
        "the directory is not empty", is_passing=True
    )
    assert bench.at("d/inside").read_bytes() == b"old"


def test_ignored_leftovers_are_kept_when_their_directory_goes(bench: Bench) -> None:
    bench.make("d/.DS_Store", b"one")
    bench.make("d/cache.tmp/deep/two", b"two")
    bench.at("d/cache.tmp/link").symlink_to("nowhere")

    def is_ignored(path: RelPath, is_directory: bool) -> bool:
        return path in (b"d/.DS_Store", b"d/cache.tmp") and is_directory == path.endswith(b"tmp")

    noted: set[RelPath] = set()

    def note_names(paths: Sequence[RelPath]) -> None:
        assert all(os.path.lexists(bench.at(path)) for path in paths), "noted before it leaves"
        noted.update(paths)

    gone = bench.prepare("d", bench.known("d"), None)
    batch = bench.apply_all(gone, is_ignored=is_ignored, note_names=note_names)
    assert isinstance(batch.outcomes[0], Done)
    assert not bench.at("d").exists()
    assert noted == {each.path for each in batch.kept}
    kept = {each.path: each for each in batch.kept}
    assert set(kept) == {b"d/.DS_Store", b"d/cache.tmp/deep/two", b"d/cache.tmp/link"}
    assert bench.kept_content(kept[RelPath(b"d/cache.tmp/deep/two")].file) == b"two"
    assert kept[RelPath(b"d/cache.tmp/link")].entry == Symlink(b"nowhere")


def test_a_file_becomes_a_directory_and_back(bench: Bench) -> None:
    done = bench.apply_one(bench.prepare("x", bench.make("x"), Directory(0o755)))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert bench.kept_content(done.kept.file) == b"old"
    assert bench.at("x").is_dir()
    assert isinstance(bench.apply_one(bench.prepare("x", bench.known("x"), NEW, b"new")), Done)
    assert bench.at("x").read_bytes() == b"new"


def test_links_are_text(bench: Bench) -> None:
    link = Symlink(b"../outside/\xff", OLD_NS)
    assert isinstance(bench.apply_one(bench.prepare("l", None, link, b"")), Done)
    assert os.readlink(os.fsencode(bench.at("l"))) == link.target
    assert bench.at("l").lstat().st_mtime_ns == OLD_NS
    done = bench.apply_one(bench.prepare("l", bench.known("l"), NEW, b"new"))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert done.kept.entry == link
    done = bench.apply_one(bench.prepare("l", bench.known("l"), link, b""))
    assert isinstance(done, Done)
    assert bench.at("l").is_symlink()


def _rename(bench: Bench, known: Known, intended: File) -> Prepared:
    assert isinstance(known.entry, File)
    action = Action(RelPath(b"d/new"), None, intended, renamed_from=RelPath(b"old"), expected_source=known.entry)
    return Prepared(action, None, None, known)


def test_a_rename_moves_the_very_file(bench: Bench) -> None:
    known = bench.make("old")
    bench.at("d").mkdir()
    inode = bench.at("old").stat().st_ino
    done = bench.apply_one(_rename(bench, known, file_entry(b"old", OLD_NS + 9, 0o600)))
    assert isinstance(done, Done)
    assert done.is_renamed
    status = bench.at("d/new").stat()
    assert (status.st_ino, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (inode, OLD_NS + 9, 0o600)
    assert not bench.at("old").exists()


@pytest.mark.parametrize("change", ["written to", "touched"])
def test_a_rename_leaves_the_time_that_somebody_gives_it_at_that_moment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if it had been quiet for long
    known = bench.make("old")
    bench.at("d").mkdir()
    real = swap.Swapper.move
    with bench.at("old").open("ab", buffering=0) as writer:

        def move(*places: object) -> object:
            result = real(*places)
            if change == "touched":
                os.utime(bench.at("d/new"), ns=(OLD_NS + 5, OLD_NS + 5))
            else:
                writer.write(b"+late")
            return result

        monkeypatch.setattr(swap.Swapper, "move", move)
        done = bench.apply_one(_rename(bench, known, file_entry(b"old", OLD_NS)))
    assert isinstance(done, Done)
    assert done.known is None, "the index must not take it for what was intended"
    assert bench.at("d/new").stat().st_mtime_ns > OLD_NS


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_an_edit_between_check_and_rename_is_put_back(bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    known = bench.make("old")
    bench.at("d").mkdir()
    Intruder(monkeypatch, "rename_noreplace", lambda: _rewrite(bench.at("old"), b"edited"))
    refused = bench.apply_one(_rename(bench, known, file_entry(b"old", mode=mode)))
    assert isinstance(refused, Refused)
    assert refused.found is None
    assert isinstance(refused.found_source, File)
    assert bench.at("old").read_bytes() == b"edited"
    assert not bench.at("d/new").exists()


def test_a_rename_is_refused_where_its_ends_are_not_as_expected(bench: Bench) -> None:
    known = bench.make("old")
    rename = _rename(bench, known, file_entry(b"old"))
    assert bench.apply_one(rename) == Failed("its directory does not exist")
    taken = bench.make("d/new", b"taken")
    assert bench.apply_one(rename) == Refused(taken.entry, known.entry)
    bench.at("d/new").unlink()
    bench.at("old").unlink()
    assert bench.apply_one(rename) == Refused(None, None)


def test_a_link_in_the_place_of_a_parent_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"theirs")
    known, other = bench.make("d/f"), bench.make("d/g")
    create = bench.prepare("d/n", None, NEW, b"new")
    bench.at("d/f").unlink()
    bench.at("d/g").unlink()
    bench.at("d").rmdir()
    bench.at("d").symlink_to(outside)
    results = bench.apply(
        bench.prepare("d/f", known, NEW, b"new"),
        bench.prepare("d/g", other, None),
        create,
        bench.prepare("d/made", None, Directory(0o755)),
    )
    assert results[:2] == [Refused(None), Refused(None)]
    assert all(isinstance(each, Failed) for each in results[2:])
    assert os.listdir(outside) == ["f"]
    assert (outside / "f").read_bytes() == b"theirs"


def test_a_parent_swapped_for_a_link_within_the_window_leads_nowhere(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    bench.at("d").mkdir()

    def swap_parent() -> None:
        bench.at("d").rename(bench.at("moved"))
        bench.at("d").symlink_to(outside)

    Intruder(monkeypatch, "rename_noreplace", swap_parent)
    bench.apply_one(bench.prepare("d/f", None, NEW, b"new"))
    assert os.listdir(outside) == []


def test_one_failure_stops_no_other(bench: Bench) -> None:
    known = bench.make("f")
    good = bench.prepare("g", None, NEW, b"new")
    bad = bench.prepare("missing/g", None, NEW, b"new")
    results = bench.apply(bad, good, bench.prepare("f", known, None))
    assert [type(each) for each in results] == [Failed, Done, Done]
    assert bench.staged_names() == []


def test_steps_of_one_path_each_begin_with_what_the_one_before_left(bench: Bench) -> None:
    known = bench.make("f")
    contents = [b"one", b"two", b"one", b"three"]
    entries = [known.entry, *map(file_entry, contents)]
    steps = [
        Prepared(Action(RelPath(b"f"), before, entry), bench.stage("f", entry, content), known)
        for before, entry, content in zip(entries, entries[1:], contents, strict=False)
    ]
    done = bench.apply(*steps)
    assert [outcome.entry for outcome in done if isinstance(outcome, Done)] == entries[1:]
    kept = [outcome.kept for outcome in done if isinstance(outcome, Done) and outcome.kept is not None]
    assert [bench.kept_content(each.file) for each in kept] == [b"old", b"one", b"two", b"one"]
    assert bench.at("f").read_bytes() == b"three"
    assert bench.staged_names() == []


def test_a_step_that_is_not_done_ends_those_of_its_path(bench: Bench) -> None:
    known, other = bench.make("f"), bench.make("g")
    one, two = file_entry(b"one"), file_entry(b"two")
    refused = Prepared(Action(RelPath(b"f"), file_entry(b"else"), one), bench.stage("f", one, b"one"), known)
    fitting = bench.prepare("f", known, two, b"two")
    outcomes = bench.apply(refused, fitting, bench.prepare("g", other, two, b"two"))
    assert [type(outcome) for outcome in outcomes] == [Refused, Failed, Done]
    assert bench.at("f").read_bytes() == b"old"
    assert bench.staged_names() == []


def test_a_large_batch(bench: Bench) -> None:
    names = [f"f{number}" for number in range(100)]
    results = bench.apply(*[bench.prepare(name, None, NEW, b"new") for name in names])
    assert all(isinstance(each, Done) for each in results)
    known = {name: bench.known(name) for name in names}
    changed = file_entry(b"new", OLD_NS, 0o640)
    results = bench.apply(*[bench.prepare(name, known[name], changed) for name in names])
    assert all(isinstance(each, Done) for each in results)
    results = bench.apply(*[bench.prepare(name, bench.known(name), None) for name in names])
    assert len({each.kept.file for each in results if isinstance(each, Done) and each.kept}) == 100
    assert os.listdir(bench.directory) == []


def test_an_unsynced_content_is_not_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "broken")

    known = bench.make("f")
    prepared = bench.prepare("f", known, NEW, b"new")
    monkeypatch.setattr(os, "fsync", refuse)
    assert bench.apply_one(prepared) == Failed("the disk reported an input/output error")
    assert bench.at("f").read_bytes() == b"old"
    monkeypatch.setattr("dirsync.disk.durability.sync_file_system", refuse)
    batch = [bench.prepare(f"n{number}", None, NEW, b"new") for number in range(20)]
    assert set(bench.apply(*batch)) == {Failed("the disk reported an input/output error")}
    assert os.listdir(bench.directory) == ["f"]


def test_names_that_are_not_durable_are_not_called_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "broken")

    prepared = bench.prepare("n", None, Directory(0o755))
    monkeypatch.setattr(os, "fsync", refuse)
    assert bench.apply_one(prepared) == Failed("the disk reported an input/output error")


def test_no_apply_in_a_lost_root(bench: Bench) -> None:
    prepared = bench.prepare("n", None, NEW, b"new")
    bench.directory.rename(bench.directory.with_name("elsewhere"))
    with pytest.raises(RootLost):
        bench.apply_one(prepared)
    assert bench.staged_names() == []


def test_a_hard_linked_file_is_copied_so_that_its_other_name_cannot_change_the_version(bench: Bench) -> None:
    bench.make("f")
    os.link(bench.at("f"), bench.at("other"))
    done = bench.apply_one(bench.prepare("f", bench.known("f"), NEW, b"new"))
    assert isinstance(done, Done)
    assert done.kept is not None
    bench.at("other").write_bytes(b"changed later")
    assert bench.kept_content(done.kept.file) == b"old"
    assert bench.at("other").stat().st_nlink == 1


def test_a_state_on_another_file_system(far_bench: Bench) -> None:
    bench = far_bench
    known, gone = bench.make("f"), bench.make("gone")
    prepared = [bench.prepare("f", known, NEW, b"new"), bench.prepare("gone", gone, None)]
    (hidden,) = set(os.listdir(bench.directory)) - {"f", "gone"}
    assert bench.staging.is_staging(RelPath(os.fsencode(hidden)))
    assert bench.staging.is_staging(RelPath(os.fsencode(hidden) + b"/x"))
    assert not bench.staging.is_staging(RelPath(b"f"))
    replaced, deleted = bench.apply(*prepared)
    assert isinstance(replaced, Done)
    assert isinstance(deleted, Done)
    assert replaced.kept is not None
    assert deleted.kept is not None
    assert bench.kept_content(replaced.kept.file) == b"old"
    assert bench.kept_content(deleted.kept.file) == b"old"
    assert os.listdir(bench.directory) == ["f"]
    assert isinstance(bench.apply_one(bench.prepare("d", None, Directory(0o755))), Done)


@pytest.mark.parametrize("intended", [NEW, None])
def test_what_would_have_to_be_copied_waits_for_who_has_it_open(
    far_bench: Bench, monkeypatch: pytest.MonkeyPatch, intended: File | None
) -> None:
    """What a program writes to a file after it was copied and removed would be lost."""
    monkeypatch.setattr("dirsync.disk.guard._QUIET_NANOSECONDS", -1)  # as if it had been quiet for long
    known = far_bench.make("f")
    with far_bench.at("f").open("ab", buffering=0) as logger:
        outcome = far_bench.apply_one(far_bench.prepare("f", known, intended, b"new"))
        assert outcome == Failed("some program has it open for writing")
        logger.write(b"+late")
    assert far_bench.at("f").read_bytes() == b"old+late"
    assert far_bench.kept.files() == set()
    assert isinstance(far_bench.apply_one(far_bench.prepare("f", far_bench.known("f"), None)), Done)


def test_another_file_system_without_room_replaces_nothing(far_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = far_bench

    def refuse(*_: object, **__: object) -> None:
        raise OSError(122, "quota")

    known = bench.make("f")
    prepared = bench.prepare("f", known, NEW, b"new")
    monkeypatch.setattr("dirsync.disk.kept.copy_content", refuse)
    assert bench.apply_one(prepared) == Failed("the disk quota is exceeded")
    assert bench.at("f").read_bytes() == b"old"
    assert bench.kept.files() == set()


def test_a_cleared_root_takes_the_staging_directory_with_it(far_bench: Bench) -> None:
    bench = far_bench
    staged = bench.prepare("f", None, NEW, b"new")
    (hidden,) = os.listdir(bench.directory)
    for name in os.listdir(bench.at(hidden)):
        bench.at(f"{hidden}/{name}").unlink()
    bench.at(hidden).rmdir()
    assert isinstance(bench.apply_one(staged), Failed)
    assert isinstance(bench.apply_one(bench.prepare("f", None, NEW, b"new")), Done)


def test_an_immutable_file_fails_with_a_reason(bench: Bench) -> None:
    known = bench.make("f")
    if subprocess.run(["chattr", "+i", str(bench.at("f"))], capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot make a file immutable here")
    try:
        known = bench.known("f")
        results = [
            bench.apply_one(bench.prepare("f", known, NEW, b"new")),
            bench.apply_one(bench.prepare("f", known, None)),
            bench.apply_one(bench.prepare("f", known, file_entry(b"old", mode=0o600))),
            bench.apply_one(bench.prepare("g", None, NEW, b"new")),
        ]
    finally:
        subprocess.run(["chattr", "-i", str(bench.at("f"))], check=True)
    assert all(isinstance(each, Failed) and "immutable" in each.reason for each in results[:3])
    assert isinstance(results[3], Done)
    assert bench.at("f").read_bytes() == b"old"
    assert known.entry == file_entry(b"old")


@pytest.mark.parametrize("name", [b"caf\xe9", b"\n\t -", b"n" * 255, "\U0001f600".encode()])
def test_any_name(bench: Bench, name: bytes) -> None:
    text = os.fsdecode(name)
    assert isinstance(bench.apply_one(bench.prepare(text, None, NEW, b"new")), Done)
    assert os.listdir(os.fsencode(bench.directory)) == [name]
    done = bench.apply_one(bench.prepare(text, bench.known(text), None))
    assert isinstance(done, Done)
    assert done.kept is not None
    assert done.kept.path == name


def test_a_path_longer_than_the_kernel_takes(bench: Bench) -> None:
    parts = [b"%03d" % number + b"x" * 197 for number in range(40)]
    results = bench.apply(
        *[bench.prepare(os.fsdecode(b"/".join(parts[: depth + 1])), None, Directory(0o755)) for depth in range(40)]
    )
    assert all(isinstance(each, Done) for each in results)
    deep = os.fsdecode(b"/".join([*parts, b"f"]))
    assert len(deep) > 4096
    assert isinstance(bench.apply_one(bench.prepare(deep, None, NEW, b"new")), Done)
    assert bench.known(deep).entry == NEW
    assert isinstance(bench.apply_one(bench.prepare(deep, bench.known(deep), None)), Done)


entries = st.one_of(
    st.none(),
    st.binary(max_size=3).map(lambda content: ("file", content)),
    st.binary(min_size=1, max_size=3).filter(lambda text: b"\0" not in text).map(lambda text: ("link", text)),
    st.just(("directory", b"")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(history=st.lists(entries, min_size=1, max_size=6))
def test_any_state_follows_any_other(bench: Bench, history: list[tuple[str, bytes] | None]) -> None:
    """Each state is reached from each, and every file or link on the way is kept."""
    present = None
    expected_kept = bench.kept.files()
    for index, wanted in enumerate([*history, None]):
        known = None if present is None else bench.known("x")
        content = b"" if wanted is None else wanted[1]
        intended: File | Symlink | Directory | None
        match wanted:
            case None:
                intended = None
            case ("file", _):
                intended = file_entry(content, OLD_NS + index)
            case ("link", _):
                intended = Symlink(content, OLD_NS)
            case _:
                intended = Directory(0o755)
        prepared = bench.prepare("x", known, intended, content)
        if isinstance(present, Symlink) and present == intended:
            bench.apply_one(prepared)
            continue
        done = bench.apply_one(prepared)
        assert isinstance(done, Done), done
        if intended is not None:
            assert bench.known("x").entry == intended
        if done.kept is not None:
            assert done.kept.entry == present
            expected_kept.add(done.kept.file)
        else:
            is_metadata = isinstance(present, File) and isinstance(intended, File) and present.digest == intended.digest
            assert is_metadata or not isinstance(present, File | Symlink)
        assert bench.kept.files() == expected_kept
        present = intended
    assert bench.staged_names() == []


def test_the_swaps_go_through_the_wrappers() -> None:
    """The tests above act between check and swap by way of this module attribute."""
    assert swap.syscalls is syscalls


def _synced_by(monkeypatch: pytest.MonkeyPatch, apply: Callable[[], object]) -> list[str]:
    """Return the names of what is synced during an apply, in order."""
    names: list[str] = []
    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: (names.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
        apply()
    return [os.path.basename(name) for name in names]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux for the names of descriptors")
def test_only_what_an_apply_changed_is_synced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.at("d").mkdir()
    new = bench.prepare("d/f", None, file_entry(b"new"), b"new")
    assert new.staged is not None
    assert _synced_by(monkeypatch, lambda: bench.apply(new)) == [os.fsdecode(new.staged.name), "d"]
    newer = bench.prepare("d/g", bench.make("d/g"), file_entry(b"newer"), b"newer")
    assert newer.staged is not None
    synced = _synced_by(monkeypatch, lambda: bench.apply(newer))
    assert synced[0] == os.fsdecode(newer.staged.name)
    assert {"d", "staging", "versions"} < set(synced)
