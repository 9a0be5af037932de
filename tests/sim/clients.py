"""Clients of Server A in a simulation: real requests over its network, one connection each, as `lab3` does."""

import asyncio

from dirsync.errors import DirsyncError
from dirsync.net.dial import dial
from dirsync.wire.client_messages import (
    BringBackRequest,
    ListRequest,
    LockRequest,
    LocksRequest,
    UnlockRequest,
    WaitRequest,
)
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Hello
from dirsync.wire.replica_messages import HistoryRequest
from tests.sim.network import NoCredential
from tests.sim.servers import PORT

UNLOCKS_MAX = 60


async def ask(request):
    """Ask Server A and return the reply. Raises DirsyncError."""
    connection, _ = await dial("a", PORT, NoCredential(), _hello())
    async with connection:
        return await connection.request(request)


async def listing():
    """Return the rows of a listing. Raises DirsyncError."""
    connection, _ = await dial("a", PORT, NoCredential(), _hello())
    rows = []
    async with connection:
        async for part in connection.stream(ListRequest()):
            rows += part.rows
    return rows


def _hello():
    return Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, "client")


class Client:
    """Somebody at a terminal. `world` hears what was asked and answered."""

    def __init__(self, world, rng):
        self._world = world
        self._rng = rng
        self.locked = set()

    async def act(self, kind, name):
        """Ask one thing; an error is an answer, too."""
        self._world.trace(f"client {kind} {name.decode()}")
        try:
            answer = await getattr(self, "_" + kind)(name)
        except DirsyncError as error:
            answer = f"{type(error).__name__}: {error}"
        self._world.trace(f"client {kind} {name.decode()}: {answer}")

    async def _lock(self, name):
        unlocks = self._world.locks.asked(name)
        reply = await ask(LockRequest(name))
        self._world.locks.answered(name, unlocks)
        return reply

    async def _unlock(self, name):
        self._world.locks.unlock_asked(name)
        try:
            return await ask(UnlockRequest(name))
        finally:
            self._world.locks.unlock_answered(name)

    async def _list(self, _):
        return f"{len(await listing())} rows"

    async def _locks(self, _):
        return f"{len((await ask(LocksRequest())).locks)} locks"

    async def _history(self, name):
        return f"{len((await ask(HistoryRequest(name))).versions)} versions"

    async def _wait(self, _):
        return await wait(self._rng.choice((1.0, 5.0, 30.0)))

    async def _restore(self, name):
        self._world.locks.restoring(name)
        try:
            reply = await ask(BringBackRequest(name, "", None))
        finally:
            self._world.locks.restored(name)
            self._world.last_act["a", name] = self._world.loop.time()  # a change like a person's, on either side
        return reply.version.id

    async def unlock_surely(self, name):
        """Unlock a name, however often that has to be asked; nothing where it is not locked."""
        for _ in range(UNLOCKS_MAX):
            try:
                held = {locked.path for locked in (await ask(LocksRequest())).locks}
                if name not in held:
                    return
                await self._unlock(name)
            except DirsyncError as error:
                self._world.trace(f"unlocking {name.decode()}: {error}")
                await self._world.clear_way("a", name)
                await asyncio.sleep(1.0)
        self._world.violated("lock", f"{name.decode()} cannot be unlocked")


async def wait(seconds):
    """Ask to wait until in sync; return the reply. Raises DirsyncError."""
    return await ask(WaitRequest(seconds))
