"""Simulated processes: what runs on behalf of which server, and how one ends without having a say in it.

Every task, job and callback carries the process it belongs to in a context variable. A killed process is cut off from
everything that lasts (disk, database, network, events) at once; its tasks are cancelled and unwind without effect.
"""

import contextvars

from tests.sim.disk import Killed, running

current = contextvars.ContextVar("process", default=None)


class Process:
    """One incarnation of a server or client. `on_disk` is the same process as the simulated disk knows it."""

    def __init__(self, name, number, on_disk=None):
        self.name = name
        self.number = number
        self.on_disk = on_disk
        self.is_dead = False
        self.tasks = {}
        self.hung_until = 0.0

    def __repr__(self):
        return f"{self.name}{self.number}"

    def check(self):
        """Raise Killed where the process is dead."""
        if self.is_dead:
            raise Killed(repr(self))

    def die(self):
        """End it: nothing it does from now on has any effect."""
        self.is_dead = True
        self.cancel_all()

    def cancel_all(self):
        """Have every task of it unwind."""
        for task in list(self.tasks):
            task.cancel()


def context_of(process):
    """Return a context in which everything belongs to `process`."""
    context = contextvars.copy_context()
    context.run(current.set, process)
    context.run(running.set, process.on_disk)
    return context
