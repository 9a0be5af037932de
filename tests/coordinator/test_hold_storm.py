"""Everything about locks at once: several clients, writers at both sides, cuts. Then nothing is left over.

Between the answer to a lock and the next unlock nothing from B changes the file at A, and B's states come in order.
"""

import asyncio
import os
import random

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from tests.support.near_pair import NearPair

A, B = Role.A, Role.B
OWN, SHARED, CONTESTED = RelPath(b"own"), RelPath(b"shared"), RelPath(b"contested")
"""Written by B alone and locked by one client; written by both; both written and locked by several."""
WRITTEN = {A: [SHARED, CONTESTED], B: [OWN, SHARED, CONTESTED]}


class Storm:
    """The people, all at once, until it is over."""

    def __init__(self, base, seed):
        self.pair = NearPair(base)
        self.choose = random.Random(seed)
        self.is_over = False
        self.number = 0
        self.locks = self.applied = self.looks = 0

    async def pause(self, seconds):
        await asyncio.sleep(self.choose.expovariate(1 / seconds))

    async def write(self, role):
        while not self.is_over:
            self.number += 1
            content = b"%s %d %s" % (role.encode(), self.number, b"x" * self.choose.choice((1, 100, 70_000)))
            is_deleted = self.choose.random() < 0.05
            standing = None if is_deleted else (content, self.number * 10**9, 0o644)
            self.pair.become(role, self.choose.choice(WRITTEN[role]), standing)
            await self.pause(0.01 if role is B else 0.05)

    async def watch(self):
        last = 0
        while not self.is_over:
            found = self.pair.standing(A, OWN)
            if found is not None:
                number = int(found[0].split()[1])
                assert number >= last, "B's states come in order"
                last = number
            self.looks += 1
            await asyncio.sleep(0.002)

    async def lock_own(self):
        """The only one who locks this name, so it is known when it is locked."""
        path = self.pair.root(A) / os.fsdecode(OWN)
        while not self.is_over:
            assert not await self.pair.lock(OWN)
            before = os.lstat(path) if path.exists() else None
            await self.pause(0.05)
            after = os.lstat(path) if path.exists() else None
            assert (before and (before.st_ino, before.st_ctime_ns)) == (after and (after.st_ino, after.st_ctime_ns))
            self.locks += 1
            await self.pair.unlock(OWN)
            await self.pause(0.02)

    async def contest(self):
        while not self.is_over:
            path = self.choose.choice((SHARED, CONTESTED))
            if self.choose.random() < 0.6:
                await self.pair.lock(path)
            else:
                await self.unlock_if_locked(path)
            await self.pause(0.03)

    async def unlock_if_locked(self, path):
        try:
            await self.pair.unlock(path)
        except Refusal as refusal:
            if not any(reason in str(refusal) for reason in ("not locked", "locked again", "being changed")):
                raise

    async def cut(self):
        while not self.is_over:
            await self.pause(0.7)
            await self.pair.part()
            await self.pause(0.2)
            await self.pair.join()

    async def rage(self, seconds):
        people = [self.write(A), self.write(B), self.watch(), self.lock_own(), self.cut()]
        async with asyncio.TaskGroup() as tasks:
            for person in (*people, self.contest(), self.contest(), self.contest()):
                tasks.create_task(person)
            await asyncio.sleep(seconds)
            self.is_over = True


async def _storm(base, seed, seconds):
    storm = Storm(base, seed)
    pair = storm.pair
    for path in (OWN, SHARED, CONTESTED, RelPath(b"stays")):
        pair.become(A, path, (b"a 0", 1, 0o644))
    await pair.start(*Role)
    try:
        await pair.join()
        await pair.settle()
        await storm.rage(seconds)
        await pair.settle()
        for path in (OWN, SHARED, CONTESTED):
            if path in pair.coordinator.holds:
                await pair.unlock(path)
        await pair.settle()
        for path in (OWN, SHARED, CONTESTED):
            assert pair.standing(A, path) == pair.standing(B, path), path
        storm.applied = len(pair.said(EventName.APPLIED))
        assert storm.applied == len(pair.said(EventName.QUEUED)), "each held update was applied once"
        left = [
            list(place.iterdir()) for place in (pair.state(A) / "spool", *(pair.state(r) / "captures" for r in Role))
        ]
        assert left == [[], [], []]
        assert not [each for each in pair.errors() if "held" in str(each)], pair.errors()
        return storm
    finally:
        await pair.end(*list(pair.running))


async def test_a_storm(memory):
    storm = await _storm(memory, 1, 2)
    assert storm.locks
    assert storm.applied


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2, 8))
async def test_a_long_storm(memory, seed):
    storm = await _storm(memory, seed, 20)
    assert storm.locks
    assert storm.applied
