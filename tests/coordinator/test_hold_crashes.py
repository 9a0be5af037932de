"""A kill of Server A at the steps of lock, enqueue and drain: nothing is lost, doubled or out of order.

The story is told again and again; each time the server is killed at a later step, everything in memory is gone, and
another server takes up what is on disk. Whoever asked for something and got no answer asks again. Or not the server
ends but its connection to Server B, at every step that uses it.
"""

import asyncio
from pathlib import Path

import pytest

from dirsync.core.entry import Role
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from tests.support.mortal import Cut, Death, LastingReplica, Life
from tests.support.virtual_time import run

FILE = RelPath(b"f")
OTHER = RelPath(b"other")
STEPS_MAX = 2_000
LARGE = b"large" * 500
"""Supplied in more than one chunk."""


@pytest.fixture(
    params=[pytest.param(17, id="sample"), pytest.param(1, id="all", marks=pytest.mark.torture)],
)
def stride(request) -> int:
    """Every how many steps there is an interruption; a torture is one at each."""
    return request.param


class Story:
    """What people do, one after the other; each deed is done once, each question asked until it is answered."""

    def __init__(self, *deeds, while_down=lambda story: None):
        self._deeds = deeds
        self.while_down = while_down
        self._told = 0
        self._is_begun = False
        self.replicas = {role: LastingReplica(role) for role in Role}
        self.is_locked = False
        self.states_before = 0

    async def tell(self, coordinator):
        """Go on where it was interrupted."""
        if self.is_locked:
            assert FILE in coordinator.holds, "a lock that was acknowledged is there"
        while self._told < len(self._deeds):
            await self._deeds[self._told](self, coordinator)
            self._told += 1
            self._is_begun = False
        await coordinator.wait_in_sync()

    def once(self, do):
        """Do what a person does with a file; that is not undone by the death of a server."""
        if not self._is_begun:
            self._is_begun = True
            do()


async def _poll(condition):
    while not condition():
        await asyncio.sleep(0.01)


def write(role, content, path=FILE):
    async def deed(story, _coordinator):
        replica = story.replicas[role]
        story.once(lambda: replica.write(path, content))
        await _poll(lambda: replica.is_released)

    return deed


def remove(role):
    async def deed(story, _coordinator):
        replica = story.replicas[role]
        story.once(lambda: replica.remove(FILE))
        await _poll(lambda: replica.is_released)

    return deed


async def settle(_story, coordinator):
    await coordinator.wait_in_sync()


async def lock(story, coordinator):
    await coordinator.holds.lock(FILE)
    story.is_locked = True


async def unlock(story, coordinator):
    states = story.replicas[Role.A].states
    story.once(lambda: setattr(story, "states_before", len(states)))
    story.is_locked = False
    if len(states) > story.states_before:
        # Once begun the drain goes on by itself, whoever is killed.
        await _poll(lambda: FILE not in coordinator.holds)
    elif FILE in coordinator.holds:
        await coordinator.holds.unlock(FILE)


async def lock_in_the_middle_of_the_drain(story, coordinator):
    """Ask to unlock, and lock again once the first update is applied."""
    states = story.replicas[Role.A].states
    before = len(states)
    story.is_locked = False
    if FILE in coordinator.holds:
        unlocking = asyncio.create_task(coordinator.holds.unlock(FILE))
        await _poll(lambda: len(states) > before or unlocking.done())
        await coordinator.holds.lock(FILE)
        story.is_locked = True
        await asyncio.gather(unlocking, return_exceptions=True)
        assert unlocking.exception() is None or isinstance(unlocking.exception(), Refusal)
    else:
        await lock(story, coordinator)


def _told_with_one_death(directory, make, at):
    """Tell a story in which the server is killed at the given step; return it, and the steps until then."""

    async def tell():
        story = make()
        death = Death(at)
        async with Life(directory, story.replicas, death) as life:
            is_told = await life.live(story.tell)
        if not is_told:
            assert death.has_come, "the story ended although nobody was killed"
            story.while_down(story)
            async with Life(directory, story.replicas, Death()) as life:
                assert await life.live(story.tell), "the next server comes to the end"
                assert life.queue() == []
        return story, death

    return run(tell())


def _told_with_one_cut(directory, make, at):
    """Tell a story in which the connection to Server B ends at the given step of using it."""

    async def tell():
        story, cut = make(), Cut(at)
        async with Life(directory, story.replicas, Death(), cut) as life:
            assert await life.live(story.tell), "the server survives that"
            assert life.queue() == []
        return story, cut

    return run(tell())


def _interrupt(directory, make, check, stride, ways=(_told_with_one_death, _told_with_one_cut)):
    """Have a story interrupted at every step, or each `stride`-th, in these ways, and check the outcome each time."""
    for tell in ways:
        for at in range(1, STEPS_MAX, stride):
            story, death = tell(directory / f"{tell.__name__}{at}", make, at)
            check(story, f"{tell.__name__} at step {at}: {death.steps[-1]}")
            if not death.has_come:
                break
        else:
            pytest.fail(f"the story has more than {STEPS_MAX} steps")


def _states(story, role):
    return [content for path, content in story.replicas[role].states if path == FILE]


def _trees(story):
    return [dict(replica._tree) for replica in story.replicas.values()]


def _begin():
    return (write(Role.A, b"original"), settle, lock)


def test_lock_enqueue_and_drain(memory: Path, stride: int) -> None:
    def make():
        return Story(
            *_begin(),
            write(Role.B, b"one"),
            write(Role.B, LARGE),
            write(Role.B, b"one"),
            remove(Role.B),
            write(Role.B, b"last"),
            unlock,
        )

    def check(story, step):
        assert _states(story, Role.A) == [b"original", b"one", LARGE, b"one", None, b"last"], step
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride)


def test_a_kill_among_updates_that_are_given_together(memory: Path, stride: int) -> None:
    """Their states come again, so it is not the state that tells which was the last one given."""
    contents = [b"x", b"y", b"x", b"z", b"x", b"y"]

    def make():
        return Story(*_begin(), *(write(Role.B, content) for content in contents), unlock)

    def check(story, step):
        assert _states(story, Role.A) == [b"original", *contents], step
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride, ways=[_told_with_one_death])


def test_edits_of_a_join_the_queue(memory: Path, stride: int) -> None:
    def make():
        return Story(
            *_begin(),
            write(Role.A, b"passes"),
            settle,
            write(Role.B, b"one"),
            write(Role.A, b"joins"),
            write(Role.B, b"two"),
            unlock,
        )

    def check(story, step):
        expected = [b"original", b"passes", b"joins", b"one", b"joins", b"two"]
        assert _states(story, Role.A) == expected, step
        assert _states(story, Role.B) == [b"original", b"passes", b"one", b"two"], step
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride)


def test_a_lock_in_the_middle_of_a_drain(memory: Path, stride: int) -> None:
    def make():
        return Story(
            *_begin(),
            write(Role.B, b"one"),
            write(Role.B, b"two"),
            lock_in_the_middle_of_the_drain,
            write(Role.B, b"three"),
            unlock,
        )

    def check(story, step):
        assert _states(story, Role.A) == [b"original", b"one", b"two", b"three"], step
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride)


def test_states_that_nobody_waits_for(memory: Path, stride: int) -> None:
    """B goes on without waiting for anything, whatever becomes of A."""
    contents = [b"state %d" % number for number in range(4)]

    def write_all(story):
        for content in contents:
            story.replicas[Role.B].write(FILE, content)
            story.replicas[Role.B].write(OTHER, content)

    async def all_at_once(story, _coordinator):
        story.once(lambda: write_all(story))
        await _poll(lambda: story.replicas[Role.B].is_released)

    def make():
        return Story(*_begin(), all_at_once, unlock)

    def check(story, step):
        assert _states(story, Role.A) == [b"original", *contents], step
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride)


def test_an_edit_of_a_while_the_server_is_down(memory: Path, stride: int) -> None:
    """What the drain had applied is not applied again on top of it, however soon the kill came after the apply."""

    def edit(story):
        story.replicas[Role.A].write(FILE, b"while it was down")
        story.states_before += 1  # no sign that the drain has begun

    def make():
        return Story(
            *_begin(),
            write(Role.B, b"one"),
            write(Role.B, b"two"),
            write(Role.B, b"three"),
            unlock,
            while_down=edit,
        )

    def check(story, step):
        states = _states(story, Role.A)
        assert [states.count(content) for content in (b"one", b"two", b"three")] == [1, 1, 1], f"{states} {step}"
        assert [content for content in states if content in (b"one", b"two", b"three")] == [b"one", b"two", b"three"]
        a, b = _trees(story)
        assert a == b, step

    _interrupt(memory, make, check, stride, ways=[_told_with_one_death])
