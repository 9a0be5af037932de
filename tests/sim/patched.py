"""Puts what is simulated beside the disk in the place of what is real: network, threads, watcher, SQLite's hooks."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from dirsync.net import dial, listen, shortway
from dirsync.replica import saving, threads, watching
from dirsync.run import identity
from dirsync.store import database
from tests.sim.databases import SimSqlite
from tests.sim.disk import running
from tests.sim.loop import SimPool
from tests.sim.network import connect_on, listener_class
from tests.sim.processes import current


@contextmanager
def rigged(network, watcher, before_statement):
    """Have the product dial and listen on `network`, watch with `watcher`, and do its jobs in the loop."""
    with ExitStack() as undo:
        for module, name, stand_in in (
            (dial, "_connect", connect_on(network)),
            (listen, "Listener", listener_class(network)),
            (shortway, "is_possible", lambda _: False),
            (threads, "ThreadPoolExecutor", SimPool),
            (watching, "Watcher", watcher),
            (database, "sqlite3", SimSqlite(before_statement)),
            (saving, "boot_id", lambda: b"boot %d" % running.get().machine.boots),
            (identity, "machine_id", lambda: f"machine {current.get().name}"),
        ):
            undo.enter_context(patch.object(module, name, stand_in))
        yield
