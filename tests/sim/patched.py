"""Puts what is simulated beside the disk in the place of what is real: network, threads, watcher, SQLite's hooks.

And listens where Server A knows that both directories are the same: when a client hears of it, it may not be true any
more, because a lock has ended meanwhile.
"""

import asyncio
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from dirsync.coordinator.loop import Coordinator
from dirsync.net import dial, listen, shortway
from dirsync.replica import local, looking, saving, threads, watching
from dirsync.run import identity
from dirsync.store import database
from tests.sim.databases import SimSqlite
from tests.sim.disk import running
from tests.sim.loop import SimPool
from tests.sim.network import connect_on, listener_class
from tests.sim.processes import current

_SNAPSHOT_ENTRIES = 2


@contextmanager
def rigged(world):
    """Have the product dial and listen, watch, and do its jobs in a world, by its plan.

    The world is told when a wait has ended, at Server A, and when it began.
    """
    with ExitStack() as undo:
        for module, name, stand_in in (
            (dial, "_connect", connect_on(world.network)),
            (listen, "Listener", listener_class(world.network)),
            (shortway, "is_possible", lambda _: False),
            (looking, "LARGE_BYTES", world.plan.large_bytes or looking.LARGE_BYTES),
            (local, "INVENTORY_SECONDS", world.plan.inventory_seconds),
            (threads, "ThreadPoolExecutor", SimPool),
            (watching, "Watcher", world.watcher),
            (database, "sqlite3", SimSqlite(world.before_statement)),
            (saving, "boot_id", lambda: b"boot %d" % running.get().machine.boots),
            (Coordinator, "wait_in_sync", _wait_in_sync(world.honest.waited)),
            (Coordinator, "_take_report", _take_report(world.late_seconds)),
            (local, "_SNAPSHOT_ENTRIES", _SNAPSHOT_ENTRIES),
            (local.LocalReplica, "snapshot", _snapshot(world)),
            (identity, "machine_id", lambda: f"machine {current.get().name}"),
        ):
            undo.enter_context(patch.object(module, name, stand_in))
        yield


def _snapshot(world):
    """An inventory of one moment is taken in part by part, as that of a large directory is."""
    original = local.LocalReplica.snapshot

    async def snapshot(self, believed=()):
        async for rows in original(self, believed):
            yield rows
            aims = world.calls.aims
            seconds = world.late_seconds() + (aims.between_parts(current.get()) if aims.is_on else 0.0)
            if seconds:
                await asyncio.sleep(seconds)

    return snapshot


def _take_report(late_seconds):
    """Reports are taken in one after the other, and one of a lock that has ended waits for an answer."""
    original = Coordinator._take_report

    async def take_report(self, role, replica, report):
        if seconds := late_seconds():
            await asyncio.sleep(seconds)
        await original(self, role, replica, report)

    return take_report


def _wait_in_sync(waited):
    original = Coordinator.wait_in_sync

    async def wait_in_sync(self):
        asked = asyncio.get_running_loop().time()
        await original(self)
        waited(asked)

    return wait_in_sync
