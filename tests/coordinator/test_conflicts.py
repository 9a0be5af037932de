"""A conflict is noted until somebody has looked at it, whatever ends in the middle of it."""

import asyncio

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.core.reports import Failed, Refused
from dirsync.errors import StateError
from dirsync.store import conflict_rows
from tests.support.coordinated import World
from tests.support.virtual_time import in_virtual_time

X = RelPath(b"x")


def both_edit(world):
    """Have both servers hold another content; A's is newer, and wins once they meet."""
    world.b.write(X, b"loser")
    world.a._clock_ns += 10**9
    world.a.write(X, b"winner")


async def open_conflicts(world):
    """Return (path, winner, version) of the conflicts nobody has looked at."""
    count, rows = await world.coordinator.conflicts.newest(10)
    assert count == len(rows)
    return [(row.path, row.winner, row.version) for row in rows]


@in_virtual_time
async def test_a_conflict_is_open_until_its_history_is_shown(tmp_path):
    async with World(tmp_path) as world:
        both_edit(world)
        await world.start()
        (kept,) = (fields["kept"] for fields in world.said(EventName.CONFLICT, X))
        assert await open_conflicts(world) == [(X, Role.A, kept)]
        conflicts = world.coordinator.conflicts
        await conflicts.looked_at(X, set(), {Role.B})
        assert len(await open_conflicts(world)) == 1, "what its server keeps was not shown"
        await conflicts.looked_at(RelPath(b"y"), {kept}, set())
        assert len(await open_conflicts(world)) == 1
        await conflicts.looked_at(X, {kept}, set())
        assert await open_conflicts(world) == []


@in_virtual_time
async def test_one_whose_version_has_expired_was_looked_at_too(tmp_path):
    async with World(tmp_path) as world:
        both_edit(world)
        await world.start()
        await world.coordinator.conflicts.looked_at(X, set(), set())
        assert await open_conflicts(world) == []


@in_virtual_time
async def test_it_is_known_after_a_restart(tmp_path):
    async with World(tmp_path) as world:
        both_edit(world)
        await world.start()
        before = await open_conflicts(world)
    async with World(tmp_path) as world:
        assert await open_conflicts(world) == before


@pytest.mark.parametrize("is_done", [True, False])
@in_virtual_time
async def test_a_connection_that_ends_in_the_middle(tmp_path, is_done):
    async with World(tmp_path) as world:
        both_edit(world)
        gate, loser = asyncio.Event(), world.b
        loser.gates["applied" if is_done else "apply"] = gate
        world.attach(*Role)
        await world.until(lambda: loser.calls.get("apply"))
        await world.until(lambda: bool(loser._versions) is is_done)
        assert await open_conflicts(world) == [(X, Role.A, "")]
        loser.failing["apply"] = StateError("away")
        await world.lose(loser.role)
        gate.set()
        del loser.gates["applied" if is_done else "apply"], loser.failing["apply"]
        assert not world.said(EventName.CONFLICT)
        world.attach(loser.role)
        await world.settle()
        ((_, winner, version),) = await open_conflicts(world)
        assert [dict(fields) for fields in world.said(EventName.CONFLICT, X)] == [{"winner": winner, "kept": version}]
        assert [v.id for v in await loser.history(X)] == [version]


@in_virtual_time
async def test_what_came_to_nothing_is_none(tmp_path):
    async with World(tmp_path) as world:
        both_edit(world)
        world.b.gives(X, Refused(world.b._tree[X].entry))
        await world.start()
        (row,) = await open_conflicts(world)
        assert row[2] == world.said(EventName.CONFLICT, X)[0]["kept"]


@in_virtual_time
async def test_a_step_that_failed_is_tried_again_and_is_one_conflict(tmp_path):
    async with World(tmp_path) as world:
        both_edit(world)
        world.b.gives(X, Failed("no room"), Failed("no room"))
        await world.start()
        (row,) = await open_conflicts(world)
        assert row[2] == world.said(EventName.CONFLICT, X)[0]["kept"]


@in_virtual_time
async def test_without_its_note_nothing_is_replaced(tmp_path, monkeypatch):
    def fail(*_):
        raise StateError("the disk is full")

    async with World(tmp_path) as world:
        both_edit(world)
        monkeypatch.setattr(conflict_rows, "begin", fail)
        world.attach(*Role)
        await world.until(lambda: world.said(EventName.ERROR, X))
        assert world.a.tree() != world.b.tree()
        assert not world.a.steps_for(X) + world.b.steps_for(X)
        monkeypatch.undo()
        await world.settle()
        assert len(await open_conflicts(world)) == 1


@in_virtual_time
async def test_an_outcome_that_cannot_be_written_is_found_later(tmp_path, monkeypatch):
    def fail(*_):
        raise StateError("the disk is full")

    async with World(tmp_path) as world:
        both_edit(world)
        monkeypatch.setattr(conflict_rows, "settle", fail)
        await world.start()
        await world.until(lambda: world.said(EventName.ERROR))
        monkeypatch.undo()
        assert await open_conflicts(world) == [(X, Role.A, "")]
        await world.lose(Role.B)
        world.attach(Role.B)
        await world.settle()
        ((_, _, version),) = await open_conflicts(world)
        assert version == world.said(EventName.CONFLICT, X)[0]["kept"]
