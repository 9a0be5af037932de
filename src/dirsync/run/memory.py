"""Gives memory back to the system when a server comes to rest: its allocator keeps what the work before has taken."""

import asyncio
import time

from dirsync.disk.syscalls import give_back_memory

_LOOK_SECONDS = 1.0
_WORK_SECONDS = 0.1
"""Processor time between two looks that is more than a rest takes: a hundred small changes, not one."""


async def give_back_at_each_rest() -> None:
    """Give it back each time much work has ended, a look later, until cancelled. It takes a few milliseconds."""
    used, is_working = time.process_time(), False
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        before, used = used, time.process_time()
        was_working, is_working = is_working, used - before > _WORK_SECONDS
        if was_working and not is_working:
            await asyncio.to_thread(give_back_memory)
