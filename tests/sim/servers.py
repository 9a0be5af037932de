"""The two servers of a simulation, over all their lives: started, stopped, killed, without power, without their state.

What runs is `run.role_a.run_a` and `run.role_b.run_b` themselves, on a simulated disk, network and clock.
"""

import asyncio

from dirsync.core.entry import Role
from dirsync.errors import DirsyncError
from dirsync.run.config_table import Address
from dirsync.run.role_a import run_a
from dirsync.run.role_b import run_b
from dirsync.run.settings import Compression, ServerSettings, Settings
from tests.sim.disk import running
from tests.sim.modules import SimPath
from tests.sim.network import NoCredential
from tests.sim.power import power_cut
from tests.sim.processes import Process, context_of

PORT = 7400
STOP_SECONDS = 1.5
UNWIND_SECONDS = 60.0


def directory_of(name):
    """Return the synchronised directory of a server."""
    return f"/sim/{name}/directory"


def state_of(name):
    """Return the state directory of a server."""
    return f"/sim/{name}/state/{name}"


def _settings(name, limits):
    servers = {role: ServerSettings(SimPath(directory_of(role)), Address(role, PORT), None) for role in "ab"}
    return Settings(
        path=SimPath(f"/sim/{name}/config.toml"),
        a=servers["a"],
        b=servers["b"],
        state=SimPath(f"/sim/{name}/state"),
        key=SimPath(f"/sim/{name}/key"),
        ignore=(".DS_Store",),
        bandwidth_limit=0,
        compression=Compression.AUTO,
        locks_max_bytes=limits.locks_max_bytes,
        versions_keep_days=30.0,
        versions_max_bytes=1 << 40,
    )


class Server:
    """One server on its machine. `world` is told what happens; `database` is its SimDatabase."""

    def __init__(self, world, name, machine, database):
        self.name = name
        self.role = Role(name)
        self.machine = machine
        self.database = database
        self.process = None
        self.starts = 0
        self.started = 0.0
        self._world = world
        self._settings = _settings(name, world.limits)
        self._run = run_a if self.role is Role.A else run_b
        self._task = None

    @property
    def is_running(self):
        """Whether it has been started and has not ended."""
        return self.process is not None

    def start(self):
        """Start it; nothing where it runs already."""
        if self.process is not None:
            return
        self.starts += 1
        self.started = self._world.loop.time()
        self._world.network.machine_up(self.name)
        on_disk = self.machine.process(f"{self.name}{self.starts}")
        self.process = Process(self.name, self.starts, on_disk)
        self._world.trace(f"start {self.process}")
        context = context_of(self.process)
        loop = asyncio.get_running_loop()
        self._task = context.run(loop.create_task, self._live(self.process), name=f"server {self.process}")

    async def _live(self, process):
        error = None
        try:
            database = self.database.open()
            try:
                await self._run(self._settings, NoCredential(), database, self._sink(process))
            finally:
                if not process.is_dead:
                    database.close()
        except asyncio.CancelledError:
            pass
        except BaseException as caught:  # noqa: BLE001  its unexpected end is what is reported
            error = caught
        if not process.is_dead:
            self._ended(process, error)

    def _sink(self, process):
        def take(event):
            if not process.is_dead:
                self._world.said(event)

        return take

    def _ended(self, process, error):
        """It ended by itself, or cleanly."""
        is_expected = error is None or all(isinstance(leaf, DirsyncError) for leaf in _leaves(error))
        if is_expected:
            self._world.trace(f"end {process} {'' if error is None else list(_leaves(error))}")
        else:
            self._world.violated("crash", f"server {process} ended by {error!r}", error)
        self._forget(process)
        process.die()
        self.machine.disk.kill(process.on_disk)
        self._world.network.process_ended(process, is_silent=False)
        if error is not None:
            self._world.restart_soon(self)

    def _forget(self, process):
        if self.process is process:
            self.process = None

    async def stop(self):
        """End it cleanly; what has not ended in time is left behind, as the real one does."""
        process, task = self.process, self._task
        if process is None:
            return
        self._world.trace(f"stop {process}")
        task.cancel()
        await asyncio.wait([task], timeout=STOP_SECONDS)
        if self.process is process:
            self.kill()

    def kill(self):
        """SIGKILL: it is gone between two instructions."""
        process = self.process
        if process is None:
            return
        self._world.trace(f"kill {process}")
        self._end(process, is_silent=False)
        self.machine.disk.kill(process.on_disk)
        self.database.kill()

    def power_cut(self, rng):
        """The machine loses its power, and everything that was not synced."""
        process = self.process
        self._world.trace(f"power cut of {self.name}")
        self._world.network.machine_down(self.name)
        self._world.before_power_cut(self)
        if process is not None:
            self._end(process, is_silent=True)
        token = running.set(None)
        try:
            found = power_cut(self.machine, rng)
        finally:
            running.reset(token)
        self.database.power_cut()
        self._world.after_power_cut(self, found)

    def _end(self, process, is_silent):
        self._forget(process)
        process.die()
        self._world.network.process_ended(process, is_silent)
        self._world.unwinding(process)


def _leaves(error):
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
