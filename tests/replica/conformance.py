"""What every replica must do, written once: the contract of `dirsync.replica.interface` as tests.

A module of tests subclasses `ReplicaConformance` and gives it a fixture `site`: a replica with people at it. Nothing
in here knows whether the tree is real, or how far away it is.
"""

from collections.abc import Sequence
from typing import Protocol

import pytest
from blake3 import blake3

from dirsync.core.entry import Digest, Directory, Entry, File, Symlink
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import (
    Applied,
    Change,
    ContentAt,
    ContentOfCapture,
    ContentOfVersion,
    Failed,
    HeldName,
    Missing,
    Refused,
    Step,
)
from dirsync.core.versions import Why
from dirsync.errors import Refusal
from dirsync.limits import CHUNK_BYTES
from dirsync.replica.interface import FullReplica

MTIME_NS = 1_600_000_000_123_456_700
LARGE = bytes(range(256)) * (5 * CHUNK_BYTES // 512)  # two chunks and a half


class Site(Protocol):
    """A replica, and the people who edit its tree behind its back."""

    replica: FullReplica

    def write(self, path: bytes, content: bytes) -> None: ...
    def mkdir(self, path: bytes) -> None: ...
    def link(self, path: bytes, target: bytes) -> None: ...
    def remove(self, path: bytes) -> None: ...
    def chmod(self, path: bytes, mode: int) -> None: ...
    def read(self, path: bytes) -> bytes | None:
        """Return a file's content or a link's text; None where neither stands there."""


def file_of(content: bytes, mode: int = 0o644) -> File:
    return File(Digest(blake3(content).digest()), len(content), MTIME_NS, mode)


def step(path: bytes, expected: Entry | None, intended: Entry | None, content: bytes | None = None) -> Step:
    return Step(Action(RelPath(path), expected, intended), content)


async def snapshot_of(replica: FullReplica) -> dict[bytes, object]:
    """Take a snapshot; no path comes twice."""
    rows = [row async for batch in replica.snapshot() for row in batch]
    assert len(rows) == len(dict(rows))
    return dict(rows)


async def changes_until(site: Site, path: bytes) -> list[Change]:
    """Take reports until there is one about `path`; return all changes up to then."""
    changes: list[Change] = []
    while not any(change.path == path for change in changes):
        changes += [report for report in await site.replica.reports() if isinstance(report, Change)]
    return changes


async def change_of(site: Site, path: bytes) -> Change:
    return [change for change in await changes_until(site, path) if change.path == path][-1]


async def entry_of(site: Site, path: bytes) -> Entry:
    found = (await change_of(site, path)).found
    assert isinstance(found, File | Directory | Symlink)
    return found


async def file_at(site: Site, path: bytes) -> File:
    found = await entry_of(site, path)
    assert isinstance(found, File)
    return found


async def chunks_of(content: bytes, size: int = CHUNK_BYTES):
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def supplied(replica: FullReplica, ref: ContentAt, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in replica.supply(ref, offset)])


async def apply_one(site: Site, one: Step) -> object:
    results = await site.replica.apply([one])
    assert len(results) == 1
    return results[0]


async def ready(site: Site) -> None:
    """Begin as every session does: with a snapshot."""
    await snapshot_of(site.replica)


class ReplicaConformance:
    """The cases. Subclasses provide the fixture `site`."""

    # Looking.

    async def test_a_snapshot_has_every_entry_once(self, site: Site) -> None:
        site.mkdir(b"d")
        for number in range(7):
            site.write(b"d/%d" % number, b"content %d" % number)
        site.link(b"l", b"d/0")
        site.write(b"caf\xe9", b"not UTF-8")
        rows = await snapshot_of(site.replica)
        assert set(rows) == {b"d", b"l", b"caf\xe9", *(b"d/%d" % number for number in range(7))}
        assert isinstance(rows[b"d"], Directory)
        assert rows[b"l"] == Symlink(b"d/0")
        assert rows[b"d/3"] == file_of(b"content 3")._replace(mtime_ns=rows[b"d/3"].mtime_ns, mode=rows[b"d/3"].mode)

    async def test_what_people_do_is_reported(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"one")
        added = await file_at(site, b"f")
        assert (added.digest, added.size) == (file_of(b"one").digest, 3)
        site.write(b"f", b"two")
        assert (await file_at(site, b"f")).digest == file_of(b"two").digest
        site.chmod(b"f", 0o600)
        assert (await file_at(site, b"f")).mode == 0o600
        site.mkdir(b"d")
        assert isinstance(await entry_of(site, b"d"), Directory)
        site.link(b"l", b"f")
        assert await entry_of(site, b"l") == Symlink(b"f")
        site.remove(b"f")
        assert (await change_of(site, b"f")).found is None

    async def test_small_content_rides_along_or_can_be_fetched(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"small")
        change = await change_of(site, b"f")
        assert isinstance(change.found, File)
        assert change.content in (b"small", None)
        assert await site.replica.fetch([ContentAt(change.path, change.found)]) == [b"small"]

    async def test_a_look_counts_and_covers_what_came_before(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"12345")
        site.link(b"l", b"123")
        look = await site.replica.look(is_full=True)
        assert (look.unsettled, look.files, look.size) == ((), 2, 8)
        changes: list[object] = []
        while len(changes) < look.reported:
            changes += await site.replica.reports()
        assert {change.path for change in changes if isinstance(change, Change)} >= {b"f", b"l"}

    # Applying.

    async def test_a_file_is_added_with_content_that_rides_along(self, site: Site) -> None:
        await ready(site)
        wanted = file_of(b"new", 0o640)
        assert await apply_one(site, step(b"f", None, wanted, b"new")) == Applied()
        assert site.read(b"f") == b"new"
        assert (await snapshot_of(site.replica))[b"f"] == wanted

    async def test_own_work_is_not_reported(self, site: Site) -> None:
        await ready(site)
        await apply_one(site, step(b"f", None, file_of(b"new"), b"new"))
        assert (await site.replica.look(is_full=True)).reported == 0

    async def test_what_is_replaced_or_deleted_is_kept(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"one")
        one, two = await file_at(site, b"f"), file_of(b"two")
        replaced = await apply_one(site, step(b"f", one, two, b"two"))
        assert isinstance(replaced, Applied)
        assert site.read(b"f") == b"two"
        deleted = await apply_one(site, step(b"f", two, None))
        assert isinstance(deleted, Applied)
        assert site.read(b"f") is None
        newest, oldest = await site.replica.history(RelPath(b"f"))
        assert (newest.id, newest.entry, newest.why) == (deleted.kept, two, Why.DELETED)
        assert (oldest.id, oldest.entry, oldest.why) == (replaced.kept, one, Why.REPLACED)
        assert await site.replica.fetch([ContentOfVersion(oldest.id, one)]) == [b"one"]

    async def test_directories_are_made_before_and_removed_after_what_is_in_them(self, site: Site) -> None:
        await ready(site)
        made, inside, link = Directory(0o750), file_of(b"in"), Symlink(b"f", MTIME_NS)
        results = await site.replica.apply(
            [step(b"d", None, made), step(b"d/f", None, inside, b"in"), step(b"d/l", None, link)]
        )
        assert results == [Applied()] * 3
        assert (await snapshot_of(site.replica)) == {b"d": made, b"d/f": inside, b"d/l": link}
        results = await site.replica.apply(
            [step(b"d/f", inside, None), step(b"d/l", link, None), step(b"d", made, None)]
        )
        assert all(isinstance(result, Applied) for result in results)
        assert await snapshot_of(site.replica) == {}

    async def test_a_rename_needs_no_content_and_keeps_nothing(self, site: Site) -> None:
        await ready(site)
        site.write(b"old", b"content")
        before = await file_at(site, b"old")
        after = before._replace(mode=0o600)
        action = Action(RelPath(b"new"), None, after, renamed_from=RelPath(b"old"), expected_source=before)
        assert await apply_one(site, Step(action)) == Applied(is_renamed=True)
        assert (site.read(b"old"), site.read(b"new")) == (None, b"content")
        assert await snapshot_of(site.replica) == {b"new": after}

    async def test_metadata_alone_keeps_nothing(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"same")
        wanted = (await file_at(site, b"f"))._replace(mode=0o600, mtime_ns=MTIME_NS)
        before = await snapshot_of(site.replica)
        assert await apply_one(site, step(b"f", before[b"f"], wanted)) == Applied()
        assert (await snapshot_of(site.replica))[b"f"] == wanted
        assert list(await site.replica.history(RelPath(b"f"))) == []

    async def test_what_is_not_expected_is_left_alone(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"somebody's")
        present = await file_at(site, b"f")
        assert await apply_one(site, step(b"f", None, file_of(b"x"), b"x")) == Refused(present)
        assert await apply_one(site, step(b"f", file_of(b"y"), None)) == Refused(present)
        assert await apply_one(site, step(b"gone", file_of(b"y"), None)) == Refused(None)
        action = Action(RelPath(b"new"), None, present, renamed_from=RelPath(b"f"), expected_source=file_of(b"z"))
        assert await apply_one(site, Step(action)) == Refused(None, present)
        assert site.read(b"f") == b"somebody's"
        assert list(await site.replica.history(RelPath(b"f"))) == []

    async def test_a_step_that_fails_does_not_stop_the_others(self, site: Site) -> None:
        await ready(site)
        site.mkdir(b"d")
        directory = await entry_of(site, b"d")
        site.write(b"d/f", b"in it")
        await changes_until(site, b"d/f")
        wanted = file_of(b"x")
        results = await site.replica.apply([step(b"d", directory, None), step(b"f", None, wanted, b"x")])
        assert isinstance(results[0], Failed | Refused)
        assert results[1] == Applied()
        assert (site.read(b"d/f"), site.read(b"f")) == (b"in it", b"x")

    async def test_many_steps_come_back_in_order(self, site: Site) -> None:
        await ready(site)
        contents = [b"%d" % number * 3000 for number in range(100)]
        steps = [step(b"f%d" % n, None, file_of(content), content) for n, content in enumerate(contents)]
        results = await site.replica.apply(steps)
        assert results == [Applied()] * len(steps)
        assert [site.read(one.action.path) for one in steps] == contents

    # Content.

    async def test_content_that_is_not_here_is_missing_until_it_was_put(self, site: Site) -> None:
        await ready(site)
        wanted = file_of(LARGE)
        assert await apply_one(site, step(b"f", None, wanted)) == Missing(wanted.digest)
        assert await site.replica.stage(wanted.digest, wanted.size) == 0
        assert await site.replica.put(wanted.digest, wanted.size, 0, chunks_of(LARGE))
        assert await site.replica.stage(wanted.digest, wanted.size) == wanted.size
        assert await apply_one(site, step(b"f", None, wanted)) == Applied()
        assert site.read(b"f") == LARGE

    async def test_content_that_rides_along_must_be_what_is_meant(self, site: Site) -> None:
        await ready(site)
        wanted = file_of(b"right")
        assert await apply_one(site, step(b"f", None, wanted, b"wrong")) == Missing(wanted.digest)
        assert site.read(b"f") is None

    async def test_content_that_stands_elsewhere_is_not_missing(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", LARGE)
        wanted = (await file_at(site, b"f"))._replace(mtime_ns=MTIME_NS)
        assert await apply_one(site, step(b"copy", None, wanted)) == Applied()
        assert (site.read(b"f"), site.read(b"copy")) == (LARGE, LARGE)

    async def test_content_that_does_not_match_is_not_taken(self, site: Site) -> None:
        await ready(site)
        wanted = file_of(LARGE)
        assert not await site.replica.put(wanted.digest, wanted.size, 0, chunks_of(LARGE[::-1]))
        assert await site.replica.stage(wanted.digest, wanted.size) == 0
        assert await apply_one(site, step(b"f", None, wanted)) == Missing(wanted.digest)

    async def test_an_interrupted_put_goes_on_from_what_is_there(self, site: Site) -> None:
        class Interrupted(Exception):
            pass

        async def broken():
            yield LARGE[:CHUNK_BYTES]
            raise Interrupted

        await ready(site)
        wanted = file_of(LARGE)
        with pytest.raises(Interrupted):
            await site.replica.put(wanted.digest, wanted.size, 0, broken())
        have = await site.replica.stage(wanted.digest, wanted.size)
        assert have in (0, CHUNK_BYTES)
        assert await site.replica.put(wanted.digest, wanted.size, have, chunks_of(LARGE[have:]))
        assert await apply_one(site, step(b"f", None, wanted)) == Applied()
        assert site.read(b"f") == LARGE

    async def test_content_is_fetched_only_where_it_is_still_that(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"one")
        one = await file_at(site, b"f")
        site.write(b"g", b"two")
        two = await file_at(site, b"g")
        site.write(b"f", b"changed")
        await change_of(site, b"f")
        refs: Sequence[ContentAt] = [ContentAt(RelPath(p), e) for p, e in ((b"f", one), (b"g", two), (b"h", one))]
        assert await site.replica.fetch(refs) == [None, b"two", None]

    async def test_content_is_supplied_from_any_offset(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", LARGE)
        ref = ContentAt(RelPath(b"f"), await file_at(site, b"f"))
        assert await supplied(site.replica, ref) == LARGE
        assert await supplied(site.replica, ref, 70_001) == LARGE[70_001:]
        assert await supplied(site.replica, ref, len(LARGE)) == b""

    async def test_content_that_has_changed_is_not_supplied(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", LARGE)
        ref = ContentAt(RelPath(b"f"), await file_at(site, b"f"))
        site.write(b"f", b"changed")
        await change_of(site, b"f")
        with pytest.raises(Refusal):
            await supplied(site.replica, ref)

    # Holding.

    async def test_every_state_of_a_held_name_is_captured_until_released(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"seen")
        seen = await file_at(site, b"f")
        await site.replica.hold([HeldName(RelPath(b"f"), seen)])
        captured = []
        for content in (b"one", b"two"):
            site.write(b"f", content)
            captured.append(await change_of(site, b"f"))
        site.remove(b"f")
        captured.append(await change_of(site, b"f"))
        assert all(change.capture for change in captured)
        assert len({change.capture for change in captured}) == 3
        one, two, gone = captured
        assert gone.found is None
        refs = [ContentOfCapture(c.capture, c.found) for c in (one, two) if isinstance(c.found, File)]
        assert await site.replica.fetch(refs) == [b"one", b"two"]
        await site.replica.release([one.capture])
        assert await site.replica.fetch(refs) == [None, b"two"]

    async def test_captures_come_again_after_a_snapshot_until_released(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"seen")
        await site.replica.hold([HeldName(RelPath(b"f"), await file_at(site, b"f"))])
        for content in (b"one", b"two"):
            site.write(b"f", content)
            last = await change_of(site, b"f")
        assert isinstance(last.found, File)
        await ready(site)
        again = await changes_until(site, b"f")
        while len(again) < 2:
            again += await changes_until(site, b"f")
        assert [change.capture for change in again] == sorted(change.capture for change in again)
        assert (again[-1].capture, again[-1].found) == (last.capture, last.found)
        await site.replica.release([change.capture for change in again])
        await ready(site)
        assert (await site.replica.look(is_full=True)).reported == 0

    async def test_what_is_not_as_last_seen_is_captured_at_once(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"present")
        present = await file_at(site, b"f")
        await site.replica.hold([HeldName(RelPath(b"f"), None)])
        change = await change_of(site, b"f")
        assert change.capture
        assert change.found == present

    async def test_a_name_that_is_not_held_any_more_is_reported_as_any_other(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"seen")
        await site.replica.hold([HeldName(RelPath(b"f"), await file_at(site, b"f"))])
        await site.replica.unhold([RelPath(b"f")])
        site.write(b"f", b"later")
        change = await change_of(site, b"f")
        assert not change.capture
        assert isinstance(change.found, File)
        assert change.found.digest == file_of(b"later").digest

    async def test_of_a_stretch_only_the_named_are_held(self, site: Site) -> None:
        await ready(site)
        names = {}
        for name in (b"a", b"b", b"c", b"d"):
            site.write(name, name)
            names[name] = HeldName(RelPath(name), await file_at(site, name))
        await site.replica.hold(list(names.values()))
        await site.replica.hold_only([names[b"b"]], RelPath(b"a"), RelPath(b"c"))
        held = set()
        for name in names:
            site.write(name, b"changed")
            if (await change_of(site, name)).capture:
                held.add(name)
        assert held == {b"a", b"b", b"d"}

    async def test_where_captures_are_dropped_with_the_hold_what_stands_there_is_reported(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"seen")
        await site.replica.hold([HeldName(RelPath(b"f"), await file_at(site, b"f"))])
        site.write(b"f", b"captured")
        captured = await change_of(site, b"f")
        assert captured.capture
        await site.replica.unhold([RelPath(b"f")])
        told = await change_of(site, b"f")
        assert (told.capture, told.found) == (0, captured.found)

    # Keeping.

    async def test_a_version_is_brought_back_as_an_edit(self, site: Site) -> None:
        await ready(site)
        site.write(b"f", b"precious")
        precious = await file_at(site, b"f")
        gone = await apply_one(site, step(b"f", precious, None))
        assert isinstance(gone, Applied)
        assert gone.kept is not None
        version = await site.replica.restore(gone.kept)
        assert (version.id, version.path, version.entry) == (gone.kept, b"f", precious)
        assert (await file_at(site, b"f")).digest == precious.digest
        assert site.read(b"f") == b"precious"

    async def test_a_version_that_is_not_kept_is_refused(self, site: Site) -> None:
        await ready(site)
        with pytest.raises(Refusal):
            await site.replica.restore("b999999")
        assert list(await site.replica.history(RelPath(b"never"))) == []
