"""Puts a simulated disk in place of the real one, in the modules of dirsync and nowhere else, for a while."""

import sys
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from dirsync.disk import syscalls
from tests.sim.calls import SimOS
from tests.sim.modules import SimFcntl, SimLibc, SimPath, SimSecrets, SimTime

_REAL = ("fcntl", "os", "secrets", "time")


class Simulated:
    """The stand-ins of one simulation. Their switches (`libc.has_renameat2`, …) may be set at any time."""

    def __init__(self, disk, rng):
        self.disk = disk
        self.os = SimOS(disk, rng)
        self.fcntl = SimFcntl(disk)
        self.libc = SimLibc(self.os, self.fcntl)
        self.time = SimTime(disk)
        self.secrets = SimSecrets(rng)


@contextmanager
def simulated(disk, rng, packages=("dirsync.",)):
    """Have every loaded module of these packages use `disk` for paths below /sim; yields the stand-ins.

    `rng` is where the names come from that the product makes up.
    """
    stand_ins = Simulated(disk, rng)
    with ExitStack() as undo:
        for name, module in sorted(sys.modules.items()):
            if not name.startswith(packages):
                continue
            for real in _REAL:
                if getattr(module, real, None) is sys.modules.get(real) is not None:
                    undo.enter_context(patch.object(module, real, getattr(stand_ins, real)))
        for libc in ("_libc", "_libc_alone"):
            undo.enter_context(patch.object(syscalls, libc, lambda: stand_ins.libc))
        undo.enter_context(patch.object(syscalls, "_has_openat2", lambda: True))
        undo.enter_context(patch.object(SimPath, "system", stand_ins.os))
        yield stand_ins
