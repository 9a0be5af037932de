"""When a server gives memory back, and that it does."""

import asyncio
import ctypes
import os
import sys

import pytest

from dirsync.disk.syscalls import give_back_memory
from dirsync.run import memory
from tests.support.virtual_time import in_virtual_time

BLOCK_BYTES = 32 * 1024
MIB = 1024 * 1024


@in_virtual_time
async def test_it_is_given_back_once_after_each_work(monkeypatch):
    used = iter([0.0, 0.01, 0.5, 1.0, 1.01, 1.02, 2.0, 2.01])
    given = []

    def process_time():
        try:
            return next(used)
        except StopIteration:
            return 2.02

    async def to_thread(call):
        given.append(asyncio.get_running_loop().time() - since)

    monkeypatch.setattr(memory.time, "process_time", process_time)
    monkeypatch.setattr(memory.asyncio, "to_thread", to_thread)
    since = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(memory.give_back_at_each_rest(), 20)
    assert [round(each) for each in given] == [4, 7]


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs the C library of GNU"
)
def test_what_is_freed_between_what_stays_is_given_back():
    blocks = [b"x" * BLOCK_BYTES for _ in range(64 * MIB // BLOCK_BYTES)]
    staying = blocks[::2]
    del blocks
    before = _resident_bytes()
    give_back_memory()
    assert before - _resident_bytes() > 16 * MIB
    assert len(staying) * BLOCK_BYTES == 32 * MIB


def _resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
