"""What is surely on the disk, however the wall clock is set."""

import asyncio

import pytest

from dirsync.replica import written_out
from dirsync.replica.written_out import WrittenOut
from tests.support.virtual_time import in_virtual_time

NS = 1_000_000_000
START = 1_700_000_000


class Clock:
    """The wall clock; it may be set while time goes on."""

    def __init__(self, monkeypatch):
        self._set = START - asyncio.get_running_loop().time()
        monkeypatch.setattr(written_out.time, "time_ns", lambda: int(self.now() * NS))

    def now(self):
        return self._set + asyncio.get_running_loop().time()

    def step(self, seconds):
        self._set += seconds


async def pass_by(bound, seconds):
    """Let time go by, asking as often as a server does; return the last answer in seconds."""
    for _ in range(seconds):
        await asyncio.sleep(1)
        last_ns = bound.bound_ns()
    return last_ns / NS


@in_virtual_time
async def test_it_follows_the_clock_at_the_distance_that_the_kernel_takes(monkeypatch):
    clock, bound = Clock(monkeypatch), WrittenOut(0)
    await pass_by(bound, 200)
    assert clock.now() - 122 <= await pass_by(bound, 1) <= clock.now() - 60


@in_virtual_time
@pytest.mark.parametrize("seconds", [-3_600, -2, 1, 60, 3_600])
@pytest.mark.parametrize("later", [1, 30, 59])
async def test_what_was_changed_before_the_clock_was_set_is_not_taken_for_older(monkeypatch, seconds, later):
    clock, bound = Clock(monkeypatch), WrittenOut(0)
    await pass_by(bound, 200)
    stamp = clock.now()
    clock.step(seconds)
    assert await pass_by(bound, later) < stamp
    later_stamp = clock.now()
    assert await pass_by(bound, 59) < later_stamp
    await pass_by(bound, 200)
    assert await pass_by(bound, 1) > max(stamp, later_stamp) + min(seconds, 0)


@in_virtual_time
@pytest.mark.parametrize("seconds", [-3_600, 0, 3_600])
async def test_what_was_changed_while_no_server_ran_is_not_taken_for_older(monkeypatch, seconds):
    clock, before = Clock(monkeypatch), WrittenOut(0)
    last = await pass_by(before, 200)
    await asyncio.sleep(1_000)
    stamp = clock.now()
    clock.step(seconds)
    assert await pass_by(WrittenOut(int(last * NS)), 59) < stamp


@in_virtual_time
async def test_before_anything_is_known_nothing_is(monkeypatch):
    Clock(monkeypatch)
    assert await pass_by(WrittenOut(0), 59) <= 0
