"""Random histories of locks, edits, ends of servers and partitions, against a dict of deques.

The model says after each step what every queue holds, in which order, and what stands at A; both servers' inside is
real (`tests.support.near_pair`). One number makes a history, the same one each time; a failure prints the steps.
"""

import asyncio
import random
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from tests.support.fake_replica import digest_of
from tests.support.near_pair import NearPair

A, B = Role.A, Role.B
NAMES = [RelPath(name) for name in (b"f", b"g", b"d/h")]
STEPS = 100
SECOND = 10**9


def time_of(standing):
    return 0 if standing is None else standing[1]


@dataclass
class Name:
    """What the model knows of a name. A standing is (content, time, bits), or None."""

    present: dict = field(default_factory=lambda: {A: None, B: None})
    is_locked: bool = False
    queue: deque = field(default_factory=deque)
    last: dict = field(default_factory=lambda: {A: None, B: None})
    """The last state of each replica that is in the queue, or was agreed on."""
    unsent: list = field(default_factory=list)
    """States of A without a place in the queue yet."""
    outbox: list = field(default_factory=list)
    """States that B has captured and A has not received."""
    is_held_at_b: bool = False

    def last_of(self, role):
        waiting = self.unsent if role is A else self.outbox
        return waiting[-1] if waiting else self.last[role]

    def enqueue(self, role, standing):
        self.queue.append((role, standing))
        self.last[role] = standing

    def agree(self, standing):
        self.present = {A: standing, B: standing}
        self.last = {A: standing, B: standing}
        self.unsent = []

    def place_unsent(self):
        while self.queue and self.unsent:
            self.enqueue(A, self.unsent.pop(0))

    def a_was_edited(self, is_joined):
        """A saw its own edit while it was running."""
        new = self.present[A]
        if self.queue:
            if new != self.last_of(A):
                self.place_unsent()
                self.enqueue(A, new)
        elif is_joined:
            self.agree(new)
        else:
            self.unsent = [] if new == self.last[A] else [new]

    def a_started(self):
        """A found what was edited while it was not running; in a queue that has its place when B was compared."""
        new = self.present[A]
        if self.queue:
            if new != self.last_of(A):
                self.unsent.append(new)
        else:
            self.unsent = [] if new == self.last[A] else [new]

    def b_captured(self):
        if self.is_held_at_b and self.present[B] != self.last_of(B):
            self.outbox.append(self.present[B])

    def b_reported(self, standing):
        if standing == self.last[B]:
            return
        if not self.queue and standing == self.last_of(A):
            self.last = {A: standing, B: standing}
            self.unsent = []
            return
        while self.unsent and time_of(self.unsent[0]) <= time_of(standing):
            self.enqueue(A, self.unsent.pop(0))
        self.enqueue(B, standing)

    def joined(self, is_agreed):
        """Both were compared. `is_agreed`: one of B's states was what A holds, which was noted before the others."""
        found, self.outbox = self.outbox, []
        if self.present[B] != (found[-1] if found else self.last[B]):
            found.append(self.present[B])
        if is_agreed and not self.queue and self.present[A] in (*found, self.present[B]):
            self.last = {A: self.present[A], B: self.present[A]}
            self.unsent = []
        for standing in found:
            self.b_reported(standing)
        self.place_unsent()
        self.is_held_at_b = True
        if not self.queue:
            self.agree(self.present[A])


class History:
    """One history: the servers, the model, and the steps so far."""

    def __init__(self, base, seed):
        self.choose = random.Random(seed)
        self.pair = NearPair(base)
        self.names = {path: Name() for path in NAMES}
        self.steps = []
        self.is_joined = False
        self.count = 0
        self.past = {path: [] for path in NAMES}
        self.own_past = {(role, path): [None] for role in Role for path in NAMES}

    def is_up(self, role):
        return role in self.pair.running

    async def run(self, steps):
        for role in Role:
            (self.pair.root(role) / "d").mkdir()
            (self.pair.root(role) / "stays").write_text("a directory without any file would count as lost")
        await self.pair.start(*Role)
        await self.join()
        while len(self.steps) < steps:
            await self.step()
            await self.check()
        await self.finish()

    async def step(self):
        path = self.choose.choice(NAMES)
        name = self.names[path]
        kind = self.choose.choices(
            [self.edit, self.edit_many, self.lock, self.unlock, self.lock_again, self.die_draining, self.cut, self.end],
            [40, 6, 18, 8, 4, 4, 9, 9],
        )[0]
        await kind(path, name)

    def note(self, text):
        self.steps.append(text)

    # What people do.

    def fresh_standing(self, role, path):
        """Return a new state, sometimes one that was there before; the times are in no order."""
        luck = self.choose.random()
        if luck < 0.15:
            return None
        if luck < 0.3:
            return self.choose.choice(self.own_past[role, path])
        self.count += 1
        size = 70_000 if self.choose.random() < 0.05 else self.choose.randrange(1, 50)
        content = (b"%d " % self.count) * size
        standing = content, (1_000 + self.choose.randrange(1_000)) * SECOND, self.choose.choice((0o644, 0o600))
        self.past[path].append(standing)
        self.own_past[role, path].append(standing)
        return standing

    async def edit(self, path, name):
        role = self.choose.choice((A, B, B))
        standing = self.fresh_standing(role, path)
        self.note(f"{role} edits {path!r}: {shown(standing)}")
        self.pair.become(role, path, standing)
        name.present[role] = standing
        await self.edited(role, path, name)

    async def edited(self, role, path, name):
        await self.pair.settle()
        if not self.is_up(role):
            return
        if role is B and not self.is_joined:
            self.learn_holds()
            name.b_captured()
        if not name.is_locked:
            if self.is_joined:
                self.adopt(path, name)
            return
        if role is A:
            name.a_was_edited(self.is_joined)
        elif self.is_joined:
            name.b_reported(name.present[B])
            if not name.queue:
                name.agree(name.present[B])

    async def edit_many(self, path, name):
        """B goes on without waiting: what settles in between is not known, only that nothing is out of order."""
        if not (self.is_joined and name.is_locked):
            return
        standings = [self.fresh_standing(B, path) for _ in range(4)]
        self.note(f"b edits {path!r} at once: {', '.join(map(shown, standings))}")
        for standing in standings:
            self.pair.become(B, path, standing)
            await asyncio.sleep(self.choose.choice((0, 0.001, 0.01)))
        name.present[B] = standings[-1]
        await self.pair.settle()
        before = len(name.queue)
        rows = self.pair.rows(path)
        assert rows[:before] == list(name.queue), "what was held stays"
        rest = iter(standings)
        for role, standing in rows[before:]:
            assert role is B
            assert standing in rest, (shown(standing), "is a state of B, in the order of the states")
            name.enqueue(role, standing)
        if not name.queue:
            name.agree(self.pair.standing(B, path))

    async def lock(self, path, name):
        if not self.is_up(A):
            return
        if name.is_locked or not any(name.present.values()):
            return
        self.note(f"lock {path!r}")
        base = self.base(path)
        assert not await self.pair.lock(path)
        name.is_locked = True
        name.last = {A: base, B: base}
        name.unsent = [name.present[A]] if name.present[A] != base else []
        if self.is_joined:
            name.is_held_at_b = True
        await self.pair.settle()

    def base(self, path):
        """Return the state on which both agreed last."""
        entry = self.pair.coordinator.pair.views.base.get(path)
        if entry is None:
            return None
        found = [s for s in self.past[path] if digest_of(s[0]) == entry.digest]
        (content,) = {standing[0] for standing in found}
        return content, entry.mtime_ns, entry.mode

    async def unlock(self, path, name):
        if not self.is_up(A):
            return
        self.note(f"unlock {path!r}")
        if not name.is_locked:
            with pytest.raises(Refusal):
                await self.pair.unlock(path)
            return
        kept = await self.pair.kept(A, path)
        name.place_unsent()
        applied = await self.pair.unlock(path)
        assert applied == len(name.queue), (applied, len(name.queue))
        await self.unlocked(path, name, kept)

    async def unlocked(self, path, name, kept):
        """Every update was applied once, in order: each kept what it replaced."""
        states = [name.present[A], *(standing for _, standing in name.queue)]
        expected = [digest_of(one[0]) for one, two in pairwise(states) if one and (two is None or one[0] != two[0])]
        assert (await self.pair.kept(A, path))[len(kept) :][: len(expected)] == expected
        is_drained = bool(name.queue)
        name.present[A] = states[-1]
        name.queue.clear()
        name.is_locked = False
        name.unsent = []
        await self.pair.settle()
        if self.pair.standing(B, path) == states[-1]:
            name.present[B] = states[-1]  # B was given it before they were parted
        if self.is_joined:
            self.adopt(path, name)
            assert not is_drained or name.present[A] == states[-1], "the last one stays"
            name.is_held_at_b = False

    def adopt(self, path, name):
        """Not locked: both hold the same now, as the decision table says, which is tested elsewhere."""
        a, b = (self.pair.standing(role, path) for role in Role)
        assert a == b, (path, shown(a), shown(b))
        assert a is None or a[:2] in [standing[:2] for standing in self.past[path]]
        name.present = {A: a, B: b}
        name.outbox = []
        name.is_held_at_b = False

    async def lock_again(self, path, name):
        """Ask to unlock, and lock again in the middle of the drain."""
        if not (self.is_up(A) and name.is_locked and self.is_joined and len(name.queue) > 1):
            return
        self.note(f"unlock {path!r} and lock it again")
        before = len(self.pair.said(EventName.APPLIED, path))
        unlocking = asyncio.create_task(self.pair.unlock(path))
        most = self.choose.randrange(1, len(name.queue))
        await self.pair.until(lambda: len(self.pair.said(EventName.APPLIED, path)) >= before + most)
        was_locked = await self.pair.lock(path)
        await asyncio.gather(unlocking, return_exceptions=True)
        applied = len(self.pair.said(EventName.APPLIED, path)) - before
        assert most <= applied <= len(name.queue)
        assert was_locked is (unlocking.exception() is not None)
        await self.pair.settle()
        for _ in range(applied):
            name.present[A] = name.last[A] = name.queue.popleft()[1]
        if not was_locked:
            name.is_locked = False
            self.adopt(path, name)
            name.is_locked = name.is_held_at_b = True
        if not name.queue:
            name.agree(self.pair.standing(A, path))

    async def die_draining(self, path, name):
        """A ends in the middle of a drain; the next one goes on with it."""
        if not (self.is_up(A) and name.is_locked and len(name.queue) > 1) or name.unsent:
            return
        self.note(f"unlock {path!r} while A ends")
        kept = await self.pair.kept(A, path)
        before = len(self.pair.said(EventName.APPLIED, path))
        unlocking = asyncio.create_task(self.pair.unlock(path))
        most = self.choose.randrange(len(name.queue))
        await self.pair.until(lambda: len(self.pair.said(EventName.APPLIED, path)) >= before + most)
        await asyncio.sleep(self.choose.random() * 0.01)
        await self.stop(A)
        unlocking.cancel()
        await asyncio.gather(unlocking, return_exceptions=True)
        await self.go(A)
        if path not in self.pair.coordinator.holds:
            await self.unlocked(path, name, kept)

    # What happens to servers.

    async def cut(self, path, name):
        if self.is_joined:
            self.note("part")
            await self.pair.part()
            self.is_joined = False
            await self.pair.settle()
        elif all(map(self.is_up, Role)):
            self.note("join")
            await self.join()

    def learn_holds(self):
        """Whether B has heard of the end of a lock before they were parted is luck."""
        for path, name in self.names.items():
            name.is_held_at_b = path in self.pair.replica(B)._settling.holds
            if not name.is_held_at_b:
                name.outbox = []

    async def join(self):
        self.learn_holds()
        await self.pair.join()
        await self.pair.settle()
        self.is_joined = True
        for path, name in self.names.items():
            if name.is_locked:
                self.names[path] = self.joined(path, name)
            else:
                self.adopt(path, name)

    def joined(self, path, name):
        outcomes = [deepcopy(name) for _ in range(2)]
        for is_agreed, outcome in enumerate(outcomes):
            outcome.joined(bool(is_agreed))
        rows = self.pair.rows(path)
        return next((outcome for outcome in outcomes if list(outcome.queue) == rows), outcomes[0])

    async def end(self, path, name):
        role = self.choose.choice((A, B))
        if not self.is_up(role):
            self.note(f"{role} starts")
            await self.go(role)
        else:
            self.note(f"{role} ends")
            await self.stop(role)

    async def stop(self, role):
        await self.pair.end(role)
        self.is_joined = False
        await self.pair.settle()

    async def go(self, role):
        await self.pair.start(role)
        await self.pair.settle()
        if role is B:
            self.learn_holds()
        for name in self.names.values():
            if role is A and name.is_locked:
                name.a_started()
            if role is B:
                name.b_captured()

    # What is true.

    async def check(self):
        for path, name in self.names.items():
            if not self.is_up(A):
                continue
            assert (path in self.pair.coordinator.holds) is name.is_locked, path
            assert self.pair.rows(path) == list(name.queue), (
                path,
                [(r, shown(s)) for r, s in self.pair.rows(path)],
                [(r, shown(s)) for r, s in name.queue],
                self.pair.errors(),
            )
            for role in Role:
                standing = self.pair.standing(role, path)
                assert standing == name.present[role], (path, role, shown(standing), shown(name.present[role]))

    async def finish(self):
        """Everything is unlocked, and both are the same."""
        for role in Role:
            if not self.is_up(role):
                await self.go(role)
        if not self.is_joined:
            await self.join()
        await self.check()
        for path, name in self.names.items():
            if name.is_locked:
                await self.unlock(path, name)
        await self.check()
        assert not self.pair.errors()


def shown(standing):
    if standing is None:
        return "nothing"
    content, time_ns, mode = standing
    return f"{content[:8].decode()}x{len(content)} of {time_ns // SECOND} {mode:o}"


async def tell(base, seed, steps=STEPS):
    """Live through a history; the steps are in the failure."""
    history = History(base / str(seed), seed)
    try:
        await history.run(steps)
    except BaseException as error:
        error.add_note(f"seed {seed}, after step {len(history.steps)}:\n" + "\n".join(history.steps))
        raise
    finally:
        await history.pair.end(*list(history.pair.running))


@pytest.mark.parametrize("seed", range(3))
async def test_a_history(memory, seed):
    await tell(memory, seed, 40)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", range(10))
async def test_a_thousand_steps(memory, block):
    for seed in range(1_000 + block * 10, 1_010 + block * 10):
        await tell(memory, seed)
