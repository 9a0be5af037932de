"""Signs of life: when they are given."""

import asyncio
from itertools import pairwise

from dirsync.net.signs import beat
from tests.support.virtual_time import in_virtual_time


class Listener:
    """A link that remembers when something was sent over it."""

    is_open = can_send = True

    def __init__(self):
        self.heard = []

    def send(self, _payload):
        self.heard.append(asyncio.get_running_loop().time())


@in_virtual_time
async def test_connections_that_began_at_different_times_beat_at_the_same_ones():
    """The fractions are such that a multiple, computed again when it has come, may lie before it."""
    links = [Listener(), Listener()]
    async with asyncio.TaskGroup() as tasks:
        beats = []
        for link in links:
            beats.append(tasks.create_task(beat(link, 0.7)))
            await asyncio.sleep(0.31)
        await asyncio.sleep(70)
        for each in beats:
            each.cancel()
    first, second = (link.heard for link in links)
    assert second == first[-len(second) :]
    assert all(0.69 < later - earlier < 0.71 for earlier, later in pairwise(first))
    assert len(second) >= 99
