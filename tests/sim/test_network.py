"""The simulated network: a stream keeps its order, whatever happens to the routes."""

import asyncio
import random

from tests.sim.loop import SimLoop
from tests.sim.network import End, Network
from tests.sim.processes import Process


class Ear(asyncio.BufferedProtocol):
    """Hears what arrives."""

    def __init__(self):
        self.heard = b""
        self._room = bytearray(1024)

    def get_buffer(self, sizehint):
        return memoryview(self._room)

    def buffer_updated(self, nbytes):
        self.heard += self._room[:nbytes]


async def _heard_over_routes_that_change():
    network = Network(random.Random(1))
    there, back = network.route("a", "b"), network.route("b", "a")
    near = End(network, Process("a", 1), "a", there, random.Random(2))
    far = End(network, Process("b", 1), "b", back, random.Random(3))
    near.peer, far.peer = far, near
    ear = Ear()
    far.adopt(ear)
    there.latency_seconds = 1.0
    near.write(b"slow ")
    there.heal()
    near.write(b"quick ")
    there.block()
    near.write(b"blocked ")
    await asyncio.sleep(5)
    assert ear.heard == b""
    there.heal()
    near.write(b"healed")
    await asyncio.sleep(5)
    return ear.heard


def test_bytes_arrive_in_the_order_in_which_they_were_sent():
    loop = SimLoop()
    try:
        heard = loop.run_until_complete(_heard_over_routes_that_change())
        assert heard == b"slow quick blocked healed"
    finally:
        loop.close()
