"""What happens in a simulation, from the first start to the last check."""

import asyncio
import errno
from contextlib import suppress

from tests.sim import checkers
from tests.sim.clients import Client
from tests.sim.faults import Faults
from tests.sim.operations import NAMES
from tests.sim.plan import OPERATIONS_EACH, REQUESTS_EACH

SETTLE_SECONDS = 300.0
QUIET_SECONDS = 20.0
READER_SECONDS = 0.2
PAUSE_MAX = 0.95
LONG_PAUSE = 1.3
"""Between the steps of one operation: a file that stays open is left alone for a second if it is quiet, for three if
it grows. So either nobody may see its drafts, or only the one of the long pause."""
_BREAKING_OFF = (errno.ENOSPC, errno.EIO)
"""What ends a program in the middle of writing: what it wrote stays as it is."""


class Story:
    """People, a client and faults, then rest. `operations` and `requests` count what was really done."""

    def __init__(self, world):
        self._world = world
        self._plan = world.plan
        self.operations = 0
        self.requests = 0
        self.faults = Faults(world)
        self._client = Client(world, world.rng("client"))
        self._under_way = 0
        self._acting = {"a": None, "b": None}
        world.calls.intrude = world.calls.aims.intrude = self._intrude
        world.calls.aims.go_on = self._go_on
        world.calls.aims.ask = self._ask

    async def run(self):
        """Tell it."""
        world = self._world
        rng = world.rng("story")
        for server in rng.sample(list(world.servers.values()), 2):
            server.start()
            await asyncio.sleep(rng.random() * 2)
        reader = world.spawn(self._read_always(), "reader")
        world.calls.intruders_per_mille = self._plan.intruders_per_mille
        world.calls.aims.is_on = self._plan.aimed > 0 or self._plan.hasty_locks > 0
        await asyncio.gather(self._live("a"), self._live("b"), self._ask_always(), self.faults.run())
        world.calls.intruders_per_mille = 0
        world.calls.aims.is_on = False
        await self.faults.heal()
        await self._settle("with locks", has_locks=True)
        for name in NAMES:
            await self._client.unlock_surely(name)
        await self._settle("without locks", has_locks=False)
        await self._rest()
        reader.cancel()

    # People

    async def _live(self, side):
        world, rng = self._world, self._world.rng(f"life {side}")
        for _ in range(OPERATIONS_EACH):
            await asyncio.sleep(rng.expovariate(1 / self._plan.pause_seconds))
            while world.network.is_down(side):
                await asyncio.sleep(0.5)
            await self._do(side, rng)

    async def _do(self, side, rng):
        """Do one operation step by step."""
        world = self._world
        power_cuts = world.power_cuts[side]
        name, steps = self._choose(side, self._plan.operations)
        self._acting[side] = name, steps, power_cuts
        is_slow = rng.random() < 0.1
        while self._step(side, name, steps):
            await asyncio.sleep(min(rng.expovariate(1 / self._plan.step_seconds), PAUSE_MAX) * (0.1 if is_slow else 1))
            if is_slow and rng.random() < 0.5:
                is_slow = False
                await asyncio.sleep(LONG_PAUSE)
            if world.power_cuts[side] != power_cuts:
                with world.acting(side), suppress(OSError):  # the power cut has closed what it had open
                    steps.close()
                return

    def _choose(self, side, kinds, wanted=None):
        self.operations += 1
        name, steps = self._world.people[side].choose(kinds, wanted)
        return f"{side} #{self.operations} {name}", steps

    def _step(self, side, name, steps):
        """Do one step; False when there is none any more."""
        world = self._world
        with world.acting(side):
            try:
                next(steps)
            except StopIteration:
                world.trace(f"{name}: done")
                return False
            except OSError as error:
                world.trace(f"{name}: {error.strerror}")
                if error.errno in _BREAKING_OFF:
                    world.ledger.broken_off.update(world.view(side).contents.values())
                return False
        world.trace(name)
        return True

    def _intrude(self, side, call, kinds, wanted=None):
        """Somebody does something between two system calls of a server, to the wanted name if there is one."""
        if self._world.network.is_down(side):
            return
        name, steps = self._choose(side, kinds, wanted)
        name = f"{name}, before {call}"
        while self._step(side, name, steps):
            pass

    def _go_on(self, side):
        """Whoever is at work there, and has lived through no power cut, does his next step sooner than he would."""
        if self._acting[side] is None or self._world.network.is_down(side):
            return
        name, steps, power_cuts = self._acting[side]
        if self._world.power_cuts[side] == power_cuts:
            self._step(side, name, steps)

    def _ask(self, kind, name):
        """Somebody asks this right now, if anybody does that here."""
        if kind in self._plan.requests:
            self.requests += 1
            self._world.spawn(self._client.act(kind, name), "request")

    async def _ask_always(self):
        rng = self._world.rng("requests")
        for _ in range(REQUESTS_EACH):
            await asyncio.sleep(rng.expovariate(1 / self._plan.pause_seconds) * 2)
            self.requests += 1
            act = self._client.act(rng.choice(self._plan.requests), rng.choice(NAMES))
            if rng.random() < 0.7:
                self._world.spawn(act, "request")
            else:
                await act

    async def _read_always(self):
        rng = self._world.rng("reader")
        while True:
            await asyncio.sleep(rng.expovariate(1 / READER_SECONDS))
            self._world.torn.look()

    # The end

    async def _settle(self, when, has_locks):
        world = self._world
        world.trace(f"settling {when}")
        reason = await world.wait_surely(SETTLE_SECONDS)
        if reason is not None:
            world.violated("convergence", f"{when}: not in sync after {SETTLE_SECONDS:g} s: {reason}")
        elif not has_locks:
            checkers.check_convergence(world)
            checkers.check_invention(world)

    async def _look_into_history(self):
        """Whoever asks what versions there are is told what they are."""
        outdated = {path for side in "ab" for path in checkers.outdated_versions(self._world, side)}
        for path in sorted(outdated):
            await self._client.act("history", path)
        for side in "ab":
            if rest := checkers.outdated_versions(self._world, side):
                self._world.violated("kept", f"the history of {min(rest).decode()} at {side} is not what is kept")

    async def _restart(self):
        """What a fault left behind is cleared away at the next start, if not before."""
        for server in self._world.servers.values():
            await server.stop()
            server.start()
        await self._settle("after a restart", has_locks=False)

    async def _rest(self):
        """Nothing more is done, said or written."""
        world = self._world
        said, trees = len(world.events), [world.tree(side) for side in "ab"]
        await asyncio.sleep(QUIET_SECONDS)
        loud = [event for event in world.events[said:] if event.name in ("detected", "synced", "reconciling", "error")]
        if loud or [world.tree(side) for side in "ab"] != trees:
            world.violated("quiet", f"after everything was in sync: {loud[:3]}")
        checkers.check_deletions(world)
        await self._look_into_history()
        if not self._plan.has_disk_troubles:
            checkers.check_loss(world)
            checkers.check_bounds(world)
        await self._restart()
        checkers.check_loss(world)  # also what a failing disk kept from being put back or kept is taken up by now
        checkers.check_bounds(world)
