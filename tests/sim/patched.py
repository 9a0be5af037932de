"""Puts what is simulated beside the disk in the place of what is real: network, threads, watcher, SQLite's hooks.

And listens where Server A knows that both directories are the same: when a client hears of it, it may not be true any
more, because a lock has ended meanwhile.
"""

import asyncio
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from dirsync.coordinator.loop import Coordinator
from dirsync.net import dial, listen, shortway
from dirsync.replica import local, saving, threads, watching
from dirsync.run import identity
from dirsync.store import database
from tests.sim.databases import SimSqlite
from tests.sim.disk import running
from tests.sim.loop import SimPool
from tests.sim.network import connect_on, listener_class
from tests.sim.processes import current


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
            (local, "INVENTORY_SECONDS", world.plan.inventory_seconds),
            (threads, "ThreadPoolExecutor", SimPool),
            (watching, "Watcher", world.watcher),
            (database, "sqlite3", SimSqlite(world.before_statement)),
            (saving, "boot_id", lambda: b"boot %d" % running.get().machine.boots),
            (Coordinator, "wait_in_sync", _wait_in_sync(world.honest.waited)),
            (Coordinator, "_take_report", _take_report(world.report_seconds)),
            (identity, "machine_id", lambda: f"machine {current.get().name}"),
        ):
            undo.enter_context(patch.object(module, name, stand_in))
        yield


def _take_report(report_seconds):
    """Reports are taken in one after the other, and one of a lock that has ended waits for an answer."""
    original = Coordinator._take_report

    async def take_report(self, role, replica, report):
        seconds = report_seconds()
        if seconds:
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
