"""The network of a simulation: listeners, dials and byte streams between processes, with everything that goes wrong.

The ends are asyncio transports beneath the real `Link`; the real listener and dialler meet over them, TLS left out.
A route is one direction between two machines. Bytes sent into a blocked route wait, as TCP would send them again and
again, and arrive when it is open; a reset breaks every stream at once, wherever in a frame it stands.
"""

import asyncio
import errno
from collections import deque
from functools import partial

from dirsync.net.link import Link
from dirsync.net.listen import Listener
from tests.sim.processes import context_of, current

HIGH_WATER_BYTES = 128 * 1024
_STEP_SECONDS = 1e-6
_FIN, _RST = object(), object()


class Route:
    """One direction between two machines: its delay, its speed, and whether anything passes."""

    def __init__(self):
        self.latency_seconds = 0.0005
        self.bytes_per_second = 50_000_000
        self.is_blocked = False
        self.opened = asyncio.Event()

    def block(self):
        """Let nothing pass."""
        self.is_blocked = True
        self.opened.clear()

    def heal(self):
        """Be as good as new."""
        self.is_blocked = False
        self.latency_seconds, self.bytes_per_second = 0.0005, 50_000_000
        self.opened.set()

    async def wait_open(self):
        """Wait until something passes."""
        while self.is_blocked:
            await self.opened.wait()


class Network:
    """Who listens where, and every stream. Machines are named by the host of their address."""

    def __init__(self, rng):
        self._rng = rng
        self._routes = {}
        self._listeners = {}
        self._down = set()
        self._streams = []

    def route(self, source, target):
        """Return the direction from one machine to another."""
        return self._routes.setdefault((source, target), Route())

    def listen(self, address, listener):
        """Have `listener` accept what is dialled there, as the current process."""
        self._listeners[address] = (current.get(), listener)

    def unlisten(self, address, listener):
        """Refuse connections there."""
        if self._listeners.get(address, (None, None))[1] is listener:
            del self._listeners[address]

    def machine_down(self, machine):
        """Power is off there: nothing answers, not even with a refusal."""
        self._down.add(machine)

    def machine_up(self, machine):
        """Power is back."""
        self._down.discard(machine)

    def is_down(self, machine):
        """Return whether power is off there."""
        return machine in self._down

    def process_ended(self, process, is_silent):
        """Forget a dead process; its kernel resets its streams unless the power is off."""
        self._listeners = {at: (p, one) for at, (p, one) in self._listeners.items() if p is not process}
        for end in [end for end in self._streams if end.process is process]:
            end.orphan(is_silent)
        self._streams = [end for end in self._streams if end.process is not process]

    def reset(self, machines):
        """Break every stream between these machines."""
        for end in [end for end in self._streams if {end.machine, end.peer.machine} == set(machines)]:
            end.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        self._streams = [end for end in self._streams if not end.is_lost]

    async def connect(self, machine, host, port):
        """Return a link to whoever listens there. Raises OSError; may wait for ever."""
        there, back = self.route(machine, host), self.route(host, machine)
        await self._travel(there)
        while self.is_down(host):
            await asyncio.sleep(60.0)
        found = self._listeners.get((host, port))
        if found is None:
            await self._travel(back)
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        server, listener = found
        link = Link()
        near = End(self, current.get(), machine, there, self._rng)
        far = End(self, server, host, back, self._rng)
        near.peer, far.peer = far, near
        self._streams += [near, far]
        asyncio.get_running_loop().call_soon(listener._accept, None, _Writer(far), context=context_of(server))
        try:
            await self._travel(back)
        except asyncio.CancelledError:
            near.abort()
            raise
        if near.is_lost:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        near.adopt(link)
        link.connection_made(near)
        return link

    async def _travel(self, route):
        await route.wait_open()
        await asyncio.sleep(route.latency_seconds)


class _Writer:
    """What a listener is handed of asyncio's stream objects."""

    def __init__(self, transport):
        self.transport = transport

    def get_extra_info(self, name):
        return (self.transport.peer.machine, 0) if name == "peername" else None


class End(asyncio.Transport):
    """One end of a stream. What it sends is cut into pieces by chance."""

    def __init__(self, network, process, machine, route, rng):
        super().__init__()
        self.process = process
        self.machine = machine
        self.peer = None
        self.is_lost = False
        self._network = network
        self._route = route
        self._rng = rng
        self._protocol = None
        self._early_loss = None
        self._inbox = deque()
        self._held = deque()
        self._under_way = 0
        self._clear_at = 0.0
        self._arrives_at = 0.0
        self._is_reading = True
        self._is_closing = False
        self._has_paused = False

    def adopt(self, protocol):
        """Belong to this protocol."""
        self._protocol = protocol
        if self.is_lost:
            self._soon(protocol.connection_lost, self._early_loss)
        else:
            self._soon(self._deliver)

    # As asyncio's transports.

    def write(self, data):
        if self._is_closing or self.is_lost or self.process.is_dead:
            return
        data = bytes(data)
        while data:
            size = len(data) if self._rng.random() < 0.8 else self._rng.randint(1, len(data))
            self._under_way += size
            self._send(data[:size])
            data = data[size:]
        if self._under_way > HIGH_WATER_BYTES and not self._has_paused:
            self._has_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self):
        return self._under_way

    def pause_reading(self):
        self._is_reading = False

    def resume_reading(self):
        self._is_reading = True
        self._soon(self._deliver)

    def is_closing(self):
        return self._is_closing

    def close(self):
        self._finish(_FIN)

    def abort(self):
        self._finish(_RST)

    # How it ends.

    def _finish(self, how):
        if self._is_closing or self.is_lost:
            return
        self._is_closing = True
        if not self.process.is_dead:
            self._send(how)
        self.lose(None)

    def lose(self, error):
        """The stream is gone at this end."""
        if self.is_lost:
            return
        self.is_lost = self._is_closing = True
        self._early_loss = error
        self._inbox.clear()
        if self in self._network._streams:
            self._network._streams.remove(self)
        if self._protocol is not None:
            self._soon(self._protocol.connection_lost, error)

    def orphan(self, is_silent):
        """The process is gone."""
        if self.is_lost:
            return
        if not is_silent:
            self._send(_RST)
        self.is_lost = self._is_closing = True
        if self._protocol is not None:
            self._soon(self._protocol.connection_lost, None)

    # What travels.

    def _send(self, piece):
        loop = asyncio.get_running_loop()
        seconds = len(piece) / self._route.bytes_per_second if isinstance(piece, bytes) else 0.0
        start = max(self._clear_at + _STEP_SECONDS, loop.time())
        self._clear_at = start + seconds
        # Never before what was sent before it, also where the route has become quicker meanwhile.
        self._arrives_at = max(self._arrives_at + _STEP_SECONDS, self._clear_at + self._route.latency_seconds)
        loop.call_at(self._arrives_at, self._arrive, piece)

    def _arrive(self, piece):
        if self._route.is_blocked or self._held:
            if not self._held:
                task = asyncio.get_running_loop().create_task(self._release())
                task.set_name("network")
            self._held.append(piece)
            return
        self.peer._receive(piece)

    async def _release(self):
        await self._route.wait_open()
        held, self._held = self._held, deque()
        for piece in held:
            self.peer._receive(piece)

    def _receive(self, piece):
        if self.is_lost:
            if isinstance(piece, bytes) and not self._network.is_down(self.machine):
                reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
                asyncio.get_running_loop().call_later(self._route.latency_seconds, self._reset_peer, reset)
            return
        if piece is _RST:
            self.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            return
        self._inbox.append(piece)
        self._deliver()

    def _reset_peer(self, error):
        if not self._route.is_blocked:
            self.peer.lose(error)

    def _deliver(self):
        while self._inbox and self._is_reading and not self.is_lost and self._protocol is not None:
            piece = self._inbox.popleft()
            if piece is _FIN:
                self._protocol.eof_received()
                self.close()
                return
            room = self._protocol.get_buffer(-1)
            count = min(len(room), len(piece))
            room[:count] = piece[:count]
            if count < len(piece):
                self._inbox.appendleft(piece[count:])
            self.peer._taken(count)
            self._protocol.buffer_updated(count)

    def _taken(self, count):
        self._under_way -= count
        if self._has_paused and self._under_way <= HIGH_WATER_BYTES // 2 and not self.is_lost:
            self._has_paused = False
            self._soon(self._protocol.resume_writing)

    def _soon(self, function, *arguments):
        asyncio.get_running_loop().call_soon(partial(function, *arguments), context=context_of(self.process))


class NoCredential:
    """Stands in for the pair's credential: this network is safe."""

    proof_key = b""

    def server_context(self):
        return None

    def client_context(self):
        return None


def listener_class(network):
    """Return the real listener, on this network."""

    class SimListener(Listener):
        async def start(self, host, port):
            self._address = (host, port)
            self._port = port
            network.listen(self._address, self)

        async def close(self):
            network.unlisten(self._address, self)
            await super().close()

        async def _prove(self, transport, link):
            link.attach(transport)
            transport.adopt(link)
            transport.resume_reading()

    return SimListener


def connect_on(network):
    """Return what dials on this network in the place of `net.dial._connect`."""

    async def connect(host, port, credential):
        return await network.connect(current.get().name, host, port)

    return connect
