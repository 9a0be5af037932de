"""What goes wrong in a simulation, and how it is made good again."""

import asyncio
import errno
from functools import partial

from tests.sim.durable import INDEXED
from tests.sim.losses import forget_state, replace_machine
from tests.sim.servers import directory_of
from tests.sim.syscalls import (
    MAKING,
    SYNCING,
    WRITING,
    Putting,
    Trouble,
    is_keeping,
    is_keeping_without_row,
    is_receiving,
)

SPREAD_SECONDS = 3.0
AIMED_SECONDS = 12.0
"""How long at most an aimed death waits for its call."""
LOOK_SECONDS, SHORT_SECONDS = 0.05, 0.002
DOOM_CALLS = 400
DOOM_STEPS = 40


class Faults:
    """The faults of one plan, one after the other, some lasting into the next. `count` is how many there were."""

    def __init__(self, world):
        self._world = world
        self._rng = world.rng("faults")
        self._lasting = []
        self.count = 0

    async def run(self):
        """Have as many faults as the plan says, spread over the time in which people work."""
        for _ in range(self._world.plan.fault_count):
            await asyncio.sleep(self._rng.random() * SPREAD_SECONDS)
            kind = self._rng.choice(self._world.plan.faults)
            side = self._rng.choice("ab")
            self._world.trace(f"fault {kind} {side}")
            self.count += 1
            await getattr(self, "_" + kind)(side)

    async def heal(self):
        """Make everything good again."""
        world = self._world
        world.trace("everything is made good again")
        for side in "ab":
            world.calls.spare(side)
        for undo in self._lasting:
            undo()
        for troubles in world.calls.troubles.values():
            troubles.clear()
        for routes in (("a", "b"), ("b", "a")):
            world.network.route(*routes).heal()
        for server in world.servers.values():
            if server.process is not None:
                server.process.hung_until = 0.0
        await asyncio.sleep(1.0)
        for server in world.servers.values():
            server.start()

    # Servers

    async def _kill(self, side):
        self._world.servers[side].kill()
        self._start_later(side)

    async def _stop(self, side):
        await self._world.servers[side].stop()
        self._start_later(side)

    async def _power_cut(self, side):
        self._cut(side)
        self._start_later(side)

    async def _power_cut_both(self, _):
        for side in "ab":
            self._cut(side)
            self._start_later(side)

    async def _kill_at_call(self, side):
        self._world.calls.doom_at(side, self._rng.randrange(DOOM_CALLS), is_power_cut=False)
        await self._doomed(side)

    async def _power_cut_at_call(self, side):
        self._world.calls.doom_at(side, self._rng.randrange(DOOM_CALLS), is_power_cut=True)
        await self._doomed(side)

    async def _power_cut_after_step(self, side):
        self._world.calls.doom_at_step(side, self._rng.randint(1, DOOM_STEPS), is_power_cut=True)
        await self._doomed(side)

    async def _kill_after_keeping(self, side):
        database = self._world.servers[side].database
        is_meant = self._rng.choice((is_keeping, partial(is_keeping_without_row, database)))
        self._world.calls.doom_after(side, is_meant, is_power_cut=False)
        await self._doomed(side, AIMED_SECONDS)

    async def _power_cut_after_receiving(self, side):
        self._world.calls.doom_after(side, is_receiving, is_power_cut=True)
        await self._doomed(side, AIMED_SECONDS)

    async def _power_cut_after_restart(self, side):
        """A server dies before what it put in place is durable; the power goes when its next index rests on that."""
        server, put = self._world.servers[side], Putting(self._world.disk, directory_of(side).encode())
        self._world.calls.doom_after(side, put, is_power_cut=False)
        process = server.process
        await self._until(lambda: server.process is not process)
        self._world.calls.spare(side)
        server.start()
        await self._until(lambda: _is_indexed(server, put.file))
        self._cut(side)
        self._start_later(side)

    async def _power_cut_after_failed_rename(self, side):
        """A rename by link can be neither finished nor undone; the power goes when the index rests on what stays."""
        server, put = self._world.servers[side], Putting(self._world.disk, directory_of(side).encode(), ("link",))
        troubles = self._world.calls.troubles[side]
        trouble = Trouble(("unlink",), errno.EIO, 1000, begins=put, times=2)
        troubles.append(trouble)
        await self._until(lambda: put.file is not None)
        await self._until(lambda: _is_indexed(server, put.file), SHORT_SECONDS)
        troubles.remove(trouble)
        if put.file is not None:
            self._cut(side)
            self._start_later(side)

    async def _until(self, is_so, look_seconds=LOOK_SECONDS):
        until = self._world.loop.time() + AIMED_SECONDS
        while self._world.loop.time() < until and not is_so():
            await asyncio.sleep(look_seconds)

    async def _doomed(self, side, seconds=SPREAD_SECONDS):
        await asyncio.sleep(self._rng.random() * seconds)
        self._world.calls.spare(side)
        self._start_later(side)

    def _cut(self, side):
        self._world.servers[side].power_cut(self._rng)

    def _start_later(self, side):
        server = self._world.servers[side]
        self._world.loop.call_later(self._rng.choice((0.1, 1.0, 5.0, 15.0)), server.start)

    async def _lost_state(self, side):
        """The state directory is gone: database, versions, spool, everything."""
        world, server = self._world, self._world.servers[side]
        server.kill()
        forget_state(world, server)
        self._start_later(side)

    async def _replaced_machine(self, side):
        """The machine is another one, with nothing on its disks."""
        world, server = self._world, self._world.servers[side]
        server.kill()
        replace_machine(world, server)
        self._start_later(side)

    async def _hang(self, side):
        """The disk does not answer for a while."""
        process = self._world.servers[side].process
        if process is not None:
            process.hung_until = self._world.loop.time() + self._rng.choice((0.5, 3.0, 12.0))

    async def _clock_step(self, side):
        self._world.machines[side].step(self._rng.choice((-3_600, -2, 1, 60)) * 1_000_000_000)

    # Disks

    async def _no_space(self, side):
        self._trouble(side, Trouble((*WRITING, *MAKING), errno.ENOSPC, self._rng.choice((200, 1000))))

    async def _io_errors(self, side):
        self._trouble(side, Trouble((*WRITING, "read", "pread", "rename", "renameat2", "unlink"), errno.EIO, 100))

    async def _short_writes(self, side):
        self._trouble(side, Trouble(WRITING, None, 500))

    async def _sync_fails(self, side):
        self._trouble(side, Trouble(SYNCING, errno.EIO, 300))

    async def _few_descriptors(self, side):
        self._trouble(side, Trouble(("open", "openat2", "listdir"), errno.EMFILE, self._rng.choice((100, 500))))

    async def _database_errors(self, side):
        self._trouble(side, Trouble((), errno.EIO, 200, is_database=True))

    def _trouble(self, side, trouble):
        troubles = self._world.calls.troubles[side]
        troubles.append(trouble)
        self._until_later(lambda: troubles.remove(trouble) if trouble in troubles else None)

    # The network between the servers

    async def _reset(self, _):
        self._world.network.reset("ab")

    async def _silence(self, _):
        self._block(("a", "b"), ("b", "a"))

    async def _one_way(self, side):
        self._block(("a", "b") if side == "a" else ("b", "a"))

    async def _slow(self, _):
        for names in (("a", "b"), ("b", "a")):
            route = self._world.network.route(*names)
            route.latency_seconds = self._rng.choice((0.02, 0.3, 1.0, 3.0))
            route.bytes_per_second = self._rng.choice((20_000, 1_000_000))
            self._until_later(route.heal)

    def _block(self, *names):
        for pair in names:
            route = self._world.network.route(*pair)
            route.block()
            self._until_later(route.heal)

    def _until_later(self, undo):
        """Undo it after a while, or when everything is made good."""
        self._lasting.append(undo)
        self._world.loop.call_later(self._rng.choice((0.3, 2.0, 6.0, 14.0)), undo)


def _is_indexed(server, file):
    return file is None or file.inode in {row[1] for row in server.database.committed(INDEXED)}
