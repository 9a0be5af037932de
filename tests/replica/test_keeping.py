"""The kept versions of a near replica: how long each stays, and that rows and files agree, whatever happens."""

import asyncio
import errno
import os
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dirsync.replica.applying as applying
import dirsync.replica.keeping as keeping
import dirsync.replica.saving as saving
from dirsync.core.entry import File, Role
from dirsync.core.events import EventName
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, ContentOfVersion, Failed, Refused, Step
from dirsync.core.versions import Why
from dirsync.disk import swap, syscalls
from dirsync.disk.kept import KeptArea, path_hash
from dirsync.disk.reading import digest_of
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.disk.unlocking import Unlocking
from dirsync.errors import DiskError, Refusal, StateError
from dirsync.limits import KEPT_BYTES_MIN
from dirsync.replica.keeping import Versions
from dirsync.replica.site import Ground, Site
from dirsync.store import index_rows, leaving_names, version_rows
from dirsync.store.database import Database
from tests.replica.local_ground import local_ground, rel
from tests.replica.test_local_apply import a_file, add

DAY_NS = 86_400 * 10**9
KEEP_DAYS = 30


@dataclass
class Cellar:
    """Kept versions without a directory: what is needed to keep, to clear and to start again."""

    site: Site
    versions: Versions

    def keep(self, path: str, size: int, age_days: float = 0.0) -> int:
        """Keep a file as an apply does, at some time ago; return its number."""
        area = self.site.kept
        name = b"%s-%d-%s" % (
            path_hash(rel(path)),
            time.time_ns() - int(age_days * DAY_NS),
            os.urandom(4).hex().encode(),
        )
        with open(self.site.state / "versions" / os.fsdecode(name), "wb") as stream:
            stream.truncate(size)
        kept = area.orphans(area.files() - {os.fsdecode(name)}, lambda _: rel(path))
        return int(next(iter(self.versions.record(kept).values()))[1:])

    def numbers(self) -> list[int]:
        """Return the versions there are."""
        with self.site.database.transaction() as connection:
            return [number for (number,) in connection.execute("SELECT number FROM versions ORDER BY number")]

    def agree(self) -> None:
        """Check that every row has its file, and every file a row."""
        with self.site.database.transaction() as connection:
            assert version_rows.files(connection) == self.site.kept.files()

    def clear(self) -> None:
        """Clear away all that is to go."""
        while self.versions.clear_some():
            pass


@contextmanager
def cellar(state: Path, size_max: int = 10**12):
    """Lend the kept versions of a state directory."""
    database = Database.open(state)

    async def make() -> Cellar:
        site = Site(Role.A, str(state), state, database, lambda *_: None)
        await site.threads.close()
        return Cellar(site, Versions(site, KEEP_DAYS, size_max))

    try:
        made = asyncio.run(make())
        made.site.threads.tell = lambda call: call()
        yield made
        made.site.kept.close()
    finally:
        database.close()


def remaining(kept: list[tuple[int, str, int, float]], used: set[int], size_max: int) -> list[int]:
    """Return what stays of (number, path, size, age), as a person would work it out with a pencil."""
    left = [each for each in kept if each[3] <= KEEP_DAYS or each[0] in used]

    def counted() -> int:
        sizes = [max(size, KEPT_BYTES_MIN) for _, _, size, _ in left]
        is_last_alone_too_large = left and left[-1][0] == kept[-1][0] and sizes[-1] > size_max
        return sum(sizes) - (sizes[-1] if is_last_alone_too_large else 0)

    for is_first in (
        lambda number, path, size: size > size_max,
        lambda number, path, size: any(p == path and n > number for n, p, _, _ in kept),
        lambda number, path, size: True,
    ):
        for number, path, size, _ in sorted(left):
            is_candidate = number not in used and number != kept[-1][0] and is_first(number, path, size)
            if is_candidate and counted() > size_max:
                left = [each for each in left if each[0] != number]
    return [each[0] for each in left]


@settings(max_examples=30, deadline=None)
@given(
    kept=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from([0.0, 1.0, 29.9, 30.1, 400.0])), min_size=1
    ),
    used=st.sets(st.integers(0, 10)),
    size_max=st.integers(0, 12),
)
def test_the_newest_of_each_path_stays_longest(kept, used, size_max):
    size_max *= KEPT_BYTES_MIN
    with tempfile.TemporaryDirectory() as state, cellar(Path(state), size_max) as at:
        rows = []
        for path, pages, age in kept:
            size = pages * KEPT_BYTES_MIN
            rows.append((at.keep(path, size, age), path, size, age))
        in_use = {rows[place][0] for place in used if place < len(rows)}
        at.versions._used.update(in_use)
        at.clear()
        assert at.numbers() == remaining(rows, in_use, size_max)
        at.agree()


def test_more_than_is_cleared_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "KEPT_CLEARED_AT_ONCE", 20)
    with cellar(tmp_path) as at:
        for number in range(60):
            at.keep(f"f{number % 7}", 0, 31 if number < 45 else 0)
        assert at.versions.clear_some()
        assert len(at.numbers()) == 40
        at.clear()
        assert len(at.numbers()) == 15
        at.agree()


class Death(BaseException):
    """The server is killed here."""


@pytest.mark.parametrize("where", ["before", "first file", "second file", "sync", "forgetting"])
def test_a_crash_while_clearing_brings_nothing_back(tmp_path, monkeypatch, where):
    def die(*_):
        raise Death

    with cellar(tmp_path) as at:
        young = at.keep("f", 10)
        for _ in range(3):
            at.keep("f", 20, 40)
        real, removed = KeptArea.remove, []

        def remove(self, file):
            if len(removed) == ["first file", "second file"].index(where):
                raise Death
            removed.append(file)
            real(self, file)

        if where == "before":
            monkeypatch.setattr(version_rows, "discard", die)
        elif where == "sync":
            monkeypatch.setattr(KeptArea, "sync", die)
        elif where == "forgetting":
            monkeypatch.setattr(version_rows, "forget_discarded", die)
        else:
            monkeypatch.setattr(KeptArea, "remove", remove)
        with pytest.raises(Death):
            at.clear()
        monkeypatch.undo()
    with cellar(tmp_path) as at:
        at.site.index.known.set(rel("f"), None)
        at.versions.adopt(FakeGround())
        assert at.numbers() in ([young], [young, young + 1, young + 2, young + 3])
        at.clear()
        assert at.numbers() == [young]
        at.agree()


class FakeGround:
    """A ground with nothing left behind in its staging area."""

    staging = type("NoStaging", (), {"recover": staticmethod(lambda _: []), "tidy": staticmethod(lambda: None)})


def test_a_file_that_cannot_be_removed_is_tried_again(tmp_path, monkeypatch):
    def fail(*_):
        raise DiskError("no")

    with cellar(tmp_path) as at:
        at.keep("f", 1, 31)
        monkeypatch.setattr(KeptArea, "remove", fail)
        at.clear()
        assert (at.numbers(), len(at.site.kept.files())) == ([], 1)
        monkeypatch.undo()
        at.clear()
        at.agree()


def test_a_move_that_a_power_cut_took_back_is_made_again(tmp_path):
    """The version was recorded although a sync had failed; its name is nowhere but in that row."""
    with cellar(tmp_path / "state") as at:
        number = at.keep("f", 3)
        (file,) = at.site.kept.files()
        root = Root.open(str(tmp_path))
        staging = Staging(root, at.site.state)
        aside, name = staging.reserve(rel("f"))
        os.rename(tmp_path / "state" / "versions" / file, name, dst_dir_fd=aside)
        staging.close()
    with cellar(tmp_path / "state") as at:
        staging = Staging(root, at.site.state)
        at.versions.adopt(Ground(root, staging, Unlocking(root, at.site.state)))
        assert at.numbers() == [number + 1]
        at.agree()
        assert os.listdir(tmp_path / "state" / "staging") == []
        staging.close()
        root.close()


def test_what_could_not_be_recorded_is_recorded_with_the_next_in_its_order(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise StateError("the disk is full")

    with cellar(tmp_path) as at:
        first = at.keep("f", 1, 3)
        monkeypatch.setattr(version_rows, "add", fail)
        with pytest.raises(StopIteration):
            at.keep("f", 2, 2)
        monkeypatch.undo()
        at.keep("f", 3, 1)
        with at.site.database.transaction() as connection:
            rows = version_rows.of_path(connection, rel("f"))
        assert [(row.entry.size, row.number - first) for row in rows] == [(3, 2), (2, 1), (1, 0)]
        assert [round((time.time_ns() - row.kept_ns) / DAY_NS) for row in rows] == [1, 2, 3]
        at.agree()


def test_what_has_lost_its_name_is_a_version_under_another(tmp_path):
    """A file was taken out of the tree, and neither kept nor put back; the index has forgotten its path since."""
    hashed = path_hash(rel("f")).decode()
    with cellar(tmp_path / "state") as at:
        said = []
        at.site.emit = lambda event, path, fields: said.append((event, path))
        root = Root.open(str(tmp_path))
        staging = Staging(root, at.site.state)
        aside, name = staging.reserve(rel("f"))
        (tmp_path / "f").write_bytes(b"old")
        os.rename(tmp_path / "f", name, dst_dir_fd=aside)
        (tmp_path / "state" / "versions" / f"{hashed}-1-00").write_bytes(b"older")
        (tmp_path / "state" / "versions" / "somebody's").write_bytes(b"not kept here")
        at.versions.adopt(Ground(root, staging, Unlocking(root, at.site.state)))
        with at.site.database.transaction() as connection:
            rows = version_rows.of_path(connection, rel(f"recovered-{hashed}"))
        assert {row.entry.digest for row in rows} == {digest_of(b"old"), digest_of(b"older")}
        assert said == [(EventName.NOTICE, rel(f"recovered-{hashed}"))] * 2
        assert os.listdir(tmp_path / "state" / "staging") == []
        staging.close()
        root.close()


def test_the_index_knows_a_name_until_the_version_has_its_row(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise StateError("the disk is full")

    with cellar(tmp_path) as at:
        index, known = at.site.index, Known(a_file(b"old"), Fingerprint(1, 3, 1, 1, 0o100644), 1)
        writer = saving.IndexWriter(at.site, at.versions)
        at.site.threads.record = asyncio.to_thread
        index.set(rel("f"), known)
        asyncio.run(writer.save())
        monkeypatch.setattr(version_rows, "add", fail)
        with pytest.raises(StopIteration):
            at.keep("f", 3)
        index.discard(rel("f"))
        asyncio.run(writer.save())
        with at.site.database.transaction() as connection:
            assert [path for path, _ in index_rows.load(connection)] == [rel("f")]
        monkeypatch.undo()
        asyncio.run(writer.save())
        with at.site.database.transaction() as connection:
            assert not list(index_rows.load(connection))
        at.agree()


async def kept_at(ground, name):
    return [(version.why, version.entry) for version in await ground.replica.history(rel(name))]


async def test_what_was_set_aside_for_a_step_that_failed_is_a_version_at_once(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(16, "Device or resource busy")

    async with local_ground(tmp_path, is_started=False) as ground:
        await ground.replica.set_ignore(["*.tmp"])
        ground.write("d/left.tmp", b"old")
        directory = (await ground.snapshot())[rel("d")]
        monkeypatch.setattr(os, "rmdir", fail)
        (result,) = await ground.replica.apply([Step(Action(rel("d"), directory, None))])
        assert isinstance(result, Failed)
        ((why, entry),) = await kept_at(ground, "d/left.tmp")
        assert (why, entry.size) == (Why.DELETED, 3)


async def test_the_limit_is_kept_without_waiting_for_the_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_CLEARING_REST_SECONDS", 0.0)
    size = 10_000
    async with local_ground(tmp_path, versions_max_bytes=3 * size) as ground:
        await ground.replica.apply([add("f", bytes(size))])
        for number in range(1, 9):
            content = bytes([number]) * size
            step = Step(Action(rel("f"), a_file(bytes([number - 1]) * size), a_file(content)), content)
            assert isinstance((await ground.replica.apply([step]))[0], Applied)
        while len(versions := await ground.replica.history(rel("f"))) > 3:
            await asyncio.sleep(0.001)
        assert [version.entry for version in versions] == [a_file(bytes([number]) * size) for number in (7, 6, 5)]
        while len(os.listdir(tmp_path / "state" / "versions")) > 3:
            await asyncio.sleep(0.001)


async def test_a_version_that_is_being_restored_stays(tmp_path):
    async with local_ground(tmp_path, versions_keep_days=0) as ground:
        await ground.replica.apply([add("f", b"old"), add("g", b"old")])
        gone = [Step(Action(rel(name), a_file(b"old"), None)) for name in "fg"]
        kept = [result.kept for result in await ground.replica.apply(gone)]
        versions = ground.replica._versions
        async with versions.used(kept[0]) as (version, file):
            await asyncio.to_thread(versions.clear_some)
            assert version.entry == a_file(b"old")
            assert os.listdir(tmp_path / "state" / "versions") == [file]
            with pytest.raises(Refusal):
                await ground.replica.restore(kept[1])
        await asyncio.to_thread(versions.clear_some)
        assert os.listdir(tmp_path / "state" / "versions") == []


async def test_content_that_is_gone_at_one_version_comes_from_another(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"same"), add("g", b"same")])
        gone = [Step(Action(rel(name), a_file(b"same"), None)) for name in "fg"]
        results = await ground.replica.apply(gone)
        _, file = await ground.replica._versions.get(results[1].kept)
        os.unlink(tmp_path / "state" / "versions" / file)
        assert (await ground.replica.restore(results[0].kept)).path == rel("f")
        assert ground.read("f") == b"same"


async def test_what_a_program_still_wrote_to_a_kept_file_is_what_is_restored(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"old")])
        step = Step(Action(rel("f"), a_file(b"old"), a_file(b"new", 2 * 10**18)), b"new")
        (result,) = await ground.replica.apply([step])
        (file,) = os.listdir(tmp_path / "state" / "versions")
        with open(tmp_path / "state" / "versions" / file, "ab") as writer:
            writer.write(b" and what was added")
        restored = await ground.replica.restore(result.kept)
        assert ground.read("f") == b"old and what was added"
        assert isinstance(restored.entry, File)
        assert restored.entry.size == 22
        assert (await kept_at(ground, "f"))[-1][1] == restored.entry
        assert ground.of(EventName.ERROR) == []


async def test_what_a_program_still_wrote_to_a_kept_file_is_in_its_history_and_supplied(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"old")])
        step = Step(Action(rel("f"), a_file(b"old"), a_file(b"new", 2 * 10**18)), b"new")
        await ground.replica.apply([step])
        (file,) = (tmp_path / "state" / "versions").iterdir()
        with file.open("ab") as writer:
            writer.write(b" and what was added")
        (version,) = await ground.replica.history(rel("f"))
        assert version.entry.size == 22
        supplied = [chunk async for chunk in ground.replica.supply(ContentOfVersion(version.id, version.entry), 0)]
        assert b"".join(supplied) == b"old and what was added"


async def test_what_was_rewritten_behind_its_stat_before_it_was_kept_is_restored_as_it_is(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"old")])
        step = Step(Action(rel("f"), a_file(b"old"), a_file(b"new", 2 * 10**18)), b"new")
        (result,) = await ground.replica.apply([step])
        (file,) = (tmp_path / "state" / "versions").iterdir()
        status = file.stat()
        file.write_bytes(b"odd")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        await ground.replica.restore(result.kept)
        assert ground.read("f") == b"odd"


@pytest.mark.skipif(sys.platform != "linux", reason="only leases tell who has a file open")
async def test_a_version_that_a_program_still_writes_to_is_not_restored_half_done(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("f", b"old")])
        step = Step(Action(rel("f"), a_file(b"old"), a_file(b"new", 2 * 10**18)), b"new")
        (result,) = await ground.replica.apply([step])
        (file,) = os.listdir(tmp_path / "state" / "versions")
        with open(tmp_path / "state" / "versions" / file, "ab", buffering=0) as writer:
            writer.write(b" and half of")
            with pytest.raises(Refusal, match="still writing"):
                await ground.replica.restore(result.kept)
            assert ground.read("f") == b"new"
            writer.write(b" what was added")
        await ground.replica.restore(result.kept)
        assert ground.read("f") == b"old and half of what was added"


def test_an_ignored_name_that_was_on_its_way_when_the_server_died_is_a_version(tmp_path: Path) -> None:
    ignored = rel("gone/.DS_Store")
    with cellar(tmp_path) as made:
        made.versions.note_names([ignored])
        moved = tmp_path / "moved"
        moved.write_bytes(b"ignored, and the only copy")
        entry = File(digest_of(b"ignored, and the only copy"), 26, 1, 0o644)
        directory = os.open(tmp_path, os.O_RDONLY)
        made.site.kept.keep(directory, b"moved", ignored, entry, [])
        os.close(directory)
    with cellar(tmp_path) as made:
        made.versions.adopt(FakeGround())
        made.agree()
        assert len(made.numbers()) == 1
        with made.site.database.transaction() as connection:
            assert leaving_names.load(connection) == []


async def test_what_a_group_of_updates_replaces_has_its_name_before_any_of_them_is_given(tmp_path, monkeypatch):
    """The first one puts it where nothing stood, so that no row of the index says what it was called."""
    found, apply_batch = [], applying.apply_batch

    def look_first(*args):
        with ground.replica._site.database.transaction() as connection:
            found.extend((*leaving_names.load(connection), *(path for path, *_ in index_rows.load(connection))))
        return apply_batch(*args)

    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(applying, "apply_batch", look_first)
        steps = [
            Step(Action(rel("a"), None, a_file(b"one")), b"one", update=1),
            Step(Action(rel("a"), a_file(b"one"), a_file(b"two")), b"two", update=2),
        ]
        assert all(isinstance(result, Applied) for result in await ground.replica.apply(steps))
        assert found == [b"a"]
        with ground.replica._site.database.transaction() as connection:
            assert leaving_names.load(connection) == []


@pytest.mark.parametrize("is_back", [False, True], ids=["deleted since", "and it could not be kept for a while"])
async def test_what_could_neither_be_kept_nor_go_back_is_kept_soon_under_its_name(tmp_path, monkeypatch, is_back):
    exchange, keep, calls = syscalls.rename_exchange, KeptArea.keep, []

    def exchange_once(*places):
        calls.append(places)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        exchange(*places)

    def refuse(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("a", b"old")])
        monkeypatch.setattr(syscalls, "rename_exchange", exchange_once)
        monkeypatch.setattr(KeptArea, "keep", refuse)
        (result,) = await ground.replica.apply([Step(Action(rel("a"), a_file(b"old"), a_file(b"new")), b"new")])
        assert isinstance(result, Failed)
        assert len(calls) == 2
        os.unlink(ground.path("a"))
        await ground.drain()
        if is_back:
            while not ground.of(EventName.ERROR):
                await asyncio.sleep(0.05)
        monkeypatch.setattr(KeptArea, "keep", keep)
        while not (versions := await ground.replica.history(rel("a"))):
            await asyncio.sleep(0.05)
        assert [version.entry.digest for version in versions] == [a_file(b"old").digest]
        assert os.listdir(ground.state / "staging") == []


@pytest.mark.skipif(sys.platform != "linux", reason="only leases tell who has a file open")
@pytest.mark.parametrize("has_written", [False, True], ids=["writes later", "has written"])
async def test_what_somebody_writes_to_an_apply_that_is_undone_is_kept_soon_under_its_name(
    tmp_path, monkeypatch, has_written
):
    exchange, put_back, calls, writers = syscalls.rename_exchange, swap.Swapper._put_back, [], []

    def exchange_after_an_edit(*places):
        if not calls:
            ground.write("a", b"surprise")
        calls.append(places)
        exchange(*places)

    def put_back_after_an_edit(*args):
        there = os.stat(ground.path("a"))
        writer = os.open(ground.path("a"), os.O_RDWR)
        stack.callback(os.close, writer)
        os.pwrite(writer, b"NEW" if has_written else b"", 0)
        os.lseek(writer, 3, os.SEEK_SET)
        os.utime(ground.path("a"), ns=(there.st_atime_ns, there.st_mtime_ns))
        writers.append(writer)
        put_back(*args)

    with ExitStack() as stack:
        async with local_ground(tmp_path) as ground:
            await ground.replica.apply([add("a", b"old")])
            monkeypatch.setattr(syscalls, "rename_exchange", exchange_after_an_edit)
            monkeypatch.setattr(swap.Swapper, "_put_back", put_back_after_an_edit)
            (result,) = await ground.replica.apply([Step(Action(rel("a"), a_file(b"old"), a_file(b"new")), b"new")])
            assert isinstance(result, Refused)
            assert ground.read("a") == b"surprise"
            os.unlink(ground.path("a"))
            while not (versions := await ground.replica.history(rel("a"))):
                await asyncio.sleep(0.05)
            os.write(writers[0], b" and late")
            (version,) = await ground.replica.history(rel("a"))
            assert version.id == versions[0].id
            assert version.entry.digest == a_file(b"NEW and late" if has_written else b"new and late").digest
            assert os.listdir(ground.state / "staging") == []


async def test_the_row_of_what_is_stuck_outlives_the_file_until_it_is_kept(tmp_path, monkeypatch):
    """The server dies before it could be kept: the row is all that knows what it was called."""

    def refuse(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("a", b"old")])
        await ground.replica._writer.save()
        monkeypatch.setattr(KeptArea, "keep", refuse)
        monkeypatch.setattr(syscalls, "rename_noreplace", refuse)
        (result,) = await ground.replica.apply([Step(Action(rel("a"), a_file(b"old"), None))])
        assert isinstance(result, Failed)
        await ground.drain()
        await ground.replica._writer.save()
        with ground.replica._site.database.transaction() as connection:
            assert [path for path, *_ in index_rows.load(connection)] == [b"a"]


async def test_what_an_exchange_of_several_steps_could_not_put_back_is_kept_soon(tmp_path, monkeypatch):
    """As on a platform without an atomic exchange: what stood there was linked beside what takes its place."""

    def failing(call):
        def fail_beside(source, *args, **options):
            if os.fsencode(source).endswith(syscalls.BESIDE):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(source, *args, **options)

        return fail_beside

    async with local_ground(tmp_path) as ground:
        await ground.replica.apply([add("a", b"old")])
        with monkeypatch.context() as broken:
            broken.setattr(syscalls, "_renameat2", lambda *_: False)
            broken.setattr(os, "rename", failing(os.rename))
            broken.setattr(os, "replace", failing(os.replace))
            (result,) = await ground.replica.apply([Step(Action(rel("a"), a_file(b"old"), a_file(b"new")), b"new")])
        assert isinstance(result, Failed)
        os.unlink(ground.path("a"))
        await ground.drain()
        while not (versions := await ground.replica.history(rel("a"))):
            await asyncio.sleep(0.05)
        assert [version.entry.digest for version in versions] == [a_file(b"old").digest]
        assert os.listdir(ground.state / "staging") == []
