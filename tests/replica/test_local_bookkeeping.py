"""The bookkeeping of the near replica: what waits, what supersedes what, how long a writer is waited for."""

import asyncio
import os
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

import dirsync.disk.apply as apply_module
import dirsync.replica.applying as applying
import dirsync.replica.saving as saving
import dirsync.replica.vanishing as vanishing
import dirsync.replica.watching as watching
from dirsync.core.entry import Directory, File
from dirsync.core.fingerprint import Fingerprint
from dirsync.core.listing import Standing
from dirsync.core.plan import Action
from dirsync.core.reports import DROPPED, Applied, Back, Change, HeldName, Lost, Step
from dirsync.disk.probe import Unsettled
from dirsync.disk.reading import digest_of
from dirsync.disk.steps import Stepper
from dirsync.replica.capturing import HeldStates
from dirsync.replica.ignoring import IgnoreRules
from dirsync.replica.outbox import Outbox
from dirsync.replica.pending import Lead, Pending
from dirsync.replica.unsettled import UnsettledPaths
from dirsync.store import capture_rows, held_names
from dirsync.store.database import Database
from tests.replica.local_ground import local_ground, rel

A, B, C = rel("a"), rel("b"), rel("c")


def test_a_look_that_began_before_an_apply_counts_for_nothing():
    pending = Pending()
    pending.hint(A, 0.0)
    assert pending.take(10, 0.0) == [A]
    pending.park([A])
    assert pending.is_stale(A)
    pending.repeat(A)
    assert not pending.has_dirty
    pending.hint(A, 1.0)
    assert pending.take(10, 1.0) == []
    pending.unpark([A])
    assert pending.take(10, 1.0) == [A]
    assert not pending.is_stale(A)
    pending.resolve(A)
    assert len(pending) == 0


def test_a_hint_during_a_look_leads_to_another():
    pending = Pending()
    pending.hint(A, 0.0)
    pending.take(10, 0.0)
    pending.hint(A, 1.0)
    pending.resolve(A)
    assert pending.take(10, 1.0) == [A]
    assert pending.item(A).since == 1.0


def test_a_look_from_before_the_root_was_lost_ends_nothing():
    pending = Pending()
    pending.hint(A, 0.0)
    pending.take(10, 0.0)
    pending.clear()
    pending.hint(A, 1.0)
    pending.resolve(A)
    assert pending.take(10, 1.0) == [A]
    assert pending.item(A).since == 1.0


def test_a_round_ends_with_everything_it_led_to():
    pending = Pending()
    pending.hint(A, 0.0)
    number = pending.next_round()
    pending.hint(B, 0.0)
    assert pending.oldest_round == number
    pending.take(10, 0.0)
    pending.hint(C, 0.0, number=pending.item(A).round)
    pending.resolve(A)
    assert pending.oldest_round == number
    pending.take(10, 0.0)
    pending.resolve(C)
    assert pending.oldest_round > number
    pending.resolve(B)
    assert pending.oldest_round > number


def test_what_falls_due_together_is_taken_together():
    pending = Pending()
    names = [rel(f"n{number}") for number in range(20)]
    for name in names:
        pending.put_off(name, 5.0, 0.0, 0)
    pending.hint(A, 0.0)
    assert pending.take(4, 4.9) == [A]
    assert pending.next_due() == 5.0
    assert pending.take(4, 5.0) == names


def test_what_waits_for_walks_is_looked_at_together_once_all_they_found_was_looked_at():
    pending = Pending()
    pending.hint(A, 0.0)
    pending.hint(B, 0.0)
    pending.take(2, 0.0)
    number = pending.begin_walk()
    for path in (A, B):
        pending.repeat_after_walks(path, 5.0)
    pending.hint(C, 0.0, Lead.WALK, number)
    pending.end_walk(number)
    assert pending.is_walking
    assert pending.take(4, 4.0) == [C]
    pending.repeat(C, 4.5)
    assert not pending.is_walking
    assert set(pending.take(4, 4.0)) == {A, B}


def test_what_waits_for_walks_does_not_wait_for_itself():
    pending = Pending()
    number = pending.begin_walk()
    for path in (A, B):
        pending.hint(path, 0.0, Lead.WALK, number)
    pending.end_walk(number)
    assert set(pending.take(2, 0.0)) == {A, B}
    for path in (A, B):
        pending.repeat_after_walks(path, 5.0)
    assert set(pending.take(2, 1.0)) == {A, B}


def test_what_waits_for_walks_waits_no_longer_than_it_is_told():
    pending = Pending()
    pending.hint(A, 0.0)
    pending.take(1, 0.0)
    pending.begin_walk()
    pending.repeat_after_walks(A, 5.0)
    assert pending.take(1, 4.9) == []
    assert pending.take(1, 5.0) == [A]


def test_what_is_only_looked_at_later_holds_nobody_up():
    pending = Pending()
    pending.look_later(A, 5.0)
    assert pending.oldest_round > pending.next_round()
    assert pending.take(4, 5.0) == [A]


def test_what_is_put_off_while_it_is_looked_at_is_looked_at_again():
    """Its directory vanished meanwhile: a look that began before finds it still there."""
    pending = Pending()
    pending.hint(A, 0.0)
    assert pending.take(4, 0.0) == [A]
    number = pending.next_round()
    pending.put_off(A, 5.0, 0.0, number)
    pending.resolve(A)
    assert pending.oldest_round <= number
    assert pending.take(4, 0.0) == [A]
    pending.resolve(A)
    assert pending.oldest_round > number


async def test_a_report_replaces_the_one_it_supersedes_and_comes_by_its_serial():
    outbox = Outbox()
    outbox.change(Change(A, None), 0.0)
    outbox.restart()
    outbox.change(Change(A, None), 0.0)
    outbox.change(Change(B, None), 0.0)
    outbox.capture(Change(C, None, capture=1), 0.0)
    outbox.capture(Change(C, None, capture=2), 0.0)
    outbox.change(Change(A, Directory(0o755)), 0.0)
    assert outbox.reported == 4
    taken = await outbox.take()
    assert [(change.path, change.capture) for change in taken] == [(B, 0), (C, 1), (C, 2), (A, 0)]
    assert taken[-1].found == Directory(0o755)
    assert [change.serial for change in taken] == [2, 3, 4, outbox.serial]
    assert outbox.reported == 4


async def test_a_report_does_not_move_before_a_turn_of_the_root():
    outbox = Outbox()
    outbox.restart()
    outbox.change(Change(A, None), 0.0)
    outbox.turn(Lost("gone"))
    outbox.turn(Back(is_new=True))
    outbox.change(Change(A, Directory(0o755)), 0.0)
    kinds = [type(report) for report in await outbox.take()]
    assert kinds == [Change, Lost, Back, Change]


async def test_that_the_root_is_back_is_told_also_where_a_snapshot_was_given_meanwhile():
    """That it was lost is on its way to somebody who has asked for the snapshot before."""
    outbox = Outbox()
    outbox.restart()
    outbox.turn(Lost("away"))
    assert await outbox.take() == [Lost("away")]
    outbox.turn(Back(is_new=True))
    outbox.change(Change(A, None), 0.0)
    outbox.restart()
    assert await outbox.take() == [Back(is_new=True)]
    assert outbox.reported == 1


async def test_dropped_captures_are_still_counted_but_say_nothing():
    outbox = Outbox()
    outbox.restart()
    outbox.capture(Change(A, None, capture=1), 0.0)
    outbox.capture(Change(B, None, capture=2), 0.0)
    outbox.drop_captures(A)
    outbox.drop_captures(C)
    assert outbox.reported == 2
    assert [(change.path, change.found) for change in await outbox.take()] == [(A, DROPPED), (B, None)]


def found(size: int, mtime_ns: int, *, has_writer: bool = True) -> Unsettled:
    return Unsettled(Fingerprint(1, size, mtime_ns, mtime_ns, 0o100644), Standing(size, mtime_ns), has_writer)


def test_a_quiet_file_is_forced_after_a_second():
    paths = UnsettledPaths()
    assert 0 < paths.note(A, found(1, 1), 0.0) < 0.1
    assert paths.quiet_state(A, 0.9) is None
    paths.note(A, found(2, 2), 0.9)
    assert paths.quiet_state(A, 1.5) is None
    assert paths.quiet_state(A, 1.95) == found(2, 2).fingerprint
    assert not paths.is_to_be_sampled(A, 1.95)


def test_a_file_that_is_rewritten_in_place_is_not_one_that_grows():
    paths = UnsettledPaths()
    for tick in range(80):
        paths.note(A, found(7, tick), tick / 20)
    assert not paths.is_to_be_sampled(A, 4.0)


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_growing_file_is_sampled_and_no_other(shrinks):
    paths = UnsettledPaths()
    for tick in range(62):
        paths.note(A, found(0 if shrinks and tick == 7 else tick + 1, tick), tick / 20)
    assert paths.is_to_be_sampled(A, 3.06) is not shrinks
    if not shrinks:
        paths.sampled(A, 3.06)
        assert not paths.is_to_be_sampled(A, 3.5)


def test_what_has_grown_while_nobody_looked_may_be_another_writers():
    paths = UnsettledPaths()
    paths.note(A, found(1, 1), 0.0)
    paths.note(A, found(2, 2), 3.0)
    assert not paths.is_to_be_sampled(A, 3.0)
    for tick in range(61, 125):
        paths.note(A, found(tick, tick), tick / 20)
    assert paths.is_to_be_sampled(A, 6.25)


def test_the_wait_for_a_writer_is_announced_once():
    paths = UnsettledPaths()
    paths.note(A, found(1, 1), 0.0)
    assert not paths.is_notice_due(A, 1.9)
    assert paths.is_notice_due(A, 2.1)
    assert not paths.is_notice_due(A, 9.0)
    paths.settled(A)
    assert A not in paths


def test_ignore_patterns():
    rules = IgnoreRules([".DS_Store", "*.tmp", "build/", "/top"], lambda path: path == b".internal")
    hidden = [".DS_Store", "d/.DS_Store", "x.tmp", "build/x", "d/build/y/z", "top", "top/below", ".internal"]
    assert [name for name in hidden if not rules.hides(rel(name))] == []
    assert [name for name in ("DS_Store", "d/top", "x.tmpl", "builder/x", "build") if rules.hides(rel(name))] == []
    assert rules.ignores(rel("build"), True)
    assert not rules.change([".DS_Store", "*.tmp", "build/", "/top"])
    assert rules.change(["*.log", "!keep.log"])
    assert rules.hides(rel("a.log"))
    assert not rules.hides(rel("keep.log"))


async def test_a_name_that_comes_back_within_its_grace_was_never_gone(tmp_path, monkeypatch):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"old")
        await ground.snapshot()
        monkeypatch.setattr(vanishing, "VANISH_GRACE_SECONDS", 30.0)
        os.unlink(ground.path("a"))
        while ground.replica._settling.conclusions.vanished.due(A) is None:
            await asyncio.sleep(0)
        ground.write("a", b"new")
        await ground.drain()
        assert isinstance(ground.seen[A], File)
        assert [change.found for change in ground.reports] == [ground.seen[A]]


async def test_a_held_state_that_was_known_but_not_captured_when_the_server_died(tmp_path: Path) -> None:
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"before")
        await ground.until("f", File)
        before = ground.seen[rel("f")]
        assert isinstance(before, File)
        await ground.replica.hold([HeldName(rel("f"), before)])
        ground.write("f", b"an update")
        await ground.until("f", File)
    with closing(Database.open(tmp_path / "state")) as database, database.transaction() as connection:
        capture_rows.remove_path(connection, rel("f"))
        held_names.put(connection, rel("f"), before)
        # Read long enough after the edit to be proven by its stat.
        connection.execute("UPDATE index_entries SET looked_ns = looked_ns + 1000000000")
    async with local_ground(tmp_path, is_started=False) as ground:
        await ground.replica.wait_looked()
    with closing(Database.open(tmp_path / "state")) as database, database.transaction() as connection:
        (row,) = capture_rows.load(connection)
    assert isinstance(row.entry, File)
    assert row.entry.size == len(b"an update")


async def test_what_vanished_as_it_was_held_is_told_though_the_lock_began_without_it(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"reported before the lock")
        await ground.until("f", File)
        os.unlink(ground.path("f"))
        await ground.replica.hold([HeldName(rel("f"), None)])
        await ground.drain()
        assert ground.seen[rel("f")] is None


async def test_what_was_given_after_a_capture_is_told_after_it_in_the_next_session(tmp_path):
    async with local_ground(tmp_path) as ground:
        await ground.replica.hold([HeldName(rel("f"), None)])
        ground.write("f", b"captured, and never released")
        captured = (await ground.until("f", File)).found
        (result,) = await ground.replica.apply([Step(Action(rel("f"), captured, None), None, 0)])
        assert isinstance(result, Applied)
        ground.reports.clear()
        await ground.snapshot()
        await ground.drain()
        assert [change.found for change in ground.reports] == [captured, None]


async def test_a_watcher_that_is_silent_leaves_no_more_than_its_last_mark(tmp_path, monkeypatch):
    async with local_ground(tmp_path) as ground:
        monkeypatch.setattr(ground.replica._watching, "_take", lambda watcher, hints: None)
        monkeypatch.setattr(watching, "_MARK_SECONDS", 0.0)
        for _ in range(3):
            await ground.replica.look(is_full=False)
        monkeypatch.setattr(watching, "_MARK_SECONDS", 0.2)
        await ground.replica.look(is_full=False)
        assert len(os.listdir(tmp_path / "state" / "watch")) <= 1


@pytest.mark.parametrize("boot", ["the same", "another"])
async def test_after_a_boot_the_stat_of_what_was_changed_last_proves_nothing(tmp_path, monkeypatch, boot):
    monkeypatch.setattr(saving, "boot_id", lambda: b"the same")
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"what stands there")
        await ground.until("f", File)
        found = ground.seen[rel("f")]
    with closing(Database.open(tmp_path / "state")) as database, database.transaction() as connection:
        # As if other bytes had been read under this very stat, and a power cut had taken them: nobody had synced them.
        digest = digest_of(b"not synced by any")
        connection.execute("UPDATE index_entries SET digest = ?, looked_ns = looked_ns + 1000000000", (digest,))
    monkeypatch.setattr(saving, "boot_id", boot.encode)
    async with local_ground(tmp_path) as ground:
        assert (ground.seen[rel("f")] == found) == (boot == "another")


class Death(BaseException):
    """The server is killed here."""


def die(*_):
    raise Death


@pytest.mark.parametrize("where", ["before", "after"])
async def test_what_was_given_before_a_kill_is_told_though_a_person_went_on_from_it(tmp_path, monkeypatch, where):
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"before")
        await ground.until("f", File)
        before = ground.seen[rel("f")]
        await ground.replica.hold([HeldName(rel("f"), before)])
        given = File(digest_of(b"given"), 5, 1_600_000_000_000_000_001, 0o644)
        with monkeypatch.context() as patch:
            patch.setattr(applying, "apply_batch" if where == "before" else "_result", die)
            if where == "after":
                patch.setattr(HeldStates, "given", die)
            with pytest.raises(Death):
                await ground.replica.apply([Step(Action(rel("f"), before, given), b"given", 7)])
    with open(tmp_path / "root" / "f", "ab") as stream:
        stream.write(b", and gone on from")
    async with local_ground(tmp_path, is_started=False) as ground:
        await ground.replica.hold([HeldName(rel("f"), before)])
        await ground.snapshot()
        changes = await ground.drain()
    told = [(change.given, change.found.size) for change in changes if change.capture]
    gone_on = (0, len(ground.read("f")))
    assert told == ([(7, 5), gone_on] if where == "after" else [gone_on])


@pytest.mark.parametrize("reached", range(5))
async def test_of_a_group_the_last_that_was_given_before_a_kill_is_told(tmp_path, monkeypatch, reached):
    """Not by its state: the third is like the first."""
    calls = []

    def step(stepper, prepared):
        if len(calls) == reached:
            raise Death
        calls.append(prepared)
        return Stepper.step(stepper, prepared)

    contents = [b"x", b"y", b"x", b"z"]
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"before")
        await ground.until("f", File)
        before = ground.seen[rel("f")]
        await ground.replica.hold([HeldName(rel("f"), before)])
        entries = [before, *(File(digest_of(c), 1, 1_600_000_000_000_000_001, 0o644) for c in contents)]
        actions = [Action(rel("f"), old, new) for old, new in pairwise(entries)]
        steps = [
            Step(action, content, 7 + n) for n, (action, content) in enumerate(zip(actions, contents, strict=True))
        ]
        with monkeypatch.context() as patch:
            patch.setattr(apply_module, "Stepper", type("Mortal", (Stepper,), {"step": step}))
            patch.setattr(HeldStates, "given", die)
            with pytest.raises(Death):
                await ground.replica.apply(steps)
    assert ground.read("f") == [b"before", *contents][reached]
    async with local_ground(tmp_path, is_started=False) as ground:
        await ground.replica.hold([HeldName(rel("f"), before)])
        await ground.snapshot()
        changes = await ground.drain()
    told = [(change.given, change.found) for change in changes if change.capture]
    assert told == ([(6 + reached, entries[reached])] if reached else [])


async def test_the_same_state_made_by_a_person_is_not_what_was_given(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("f", b"before")
        await ground.until("f", File)
        await ground.replica.hold([HeldName(rel("f"), ground.seen[rel("f")])])
        ground.write("f", b"like the head")
        change = await ground.until("f", File)
    assert change.capture
    assert not change.given
