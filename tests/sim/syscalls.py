"""What happens at single system calls and statements of a server: its death, a failing disk, somebody quicker."""

import errno
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from dirsync.core.paths import RelPath
from dirsync.disk.kept import path_hash
from tests.sim.aims import MOVING, Aims
from tests.sim.nodes import Node
from tests.sim.trees import STAGING_PREFIX

WRITING = ("write", "pwrite", "copy_file_range", "sendfile")
MAKING = ("open", "mkdir", "symlink", "link")
SYNCING = ("fsync", "fdatasync", "syncfs")
RECEIVED = re.compile(b"[0-9a-f]{64}")
STEPS = (*SYNCING, *MOVING)


@dataclass(slots=True)
class Trouble:
    """A disk that fails for a while: which calls, with which errno (None: short), how often in a thousand.

    It fails after the first call of which `begins(call, what)` is true, and so many times, where that is given.
    """

    calls: tuple[str, ...]
    errno: int | None
    per_mille: int
    is_database: bool = False
    begins: Callable[[str, tuple], bool] | None = None
    times: float = float("inf")


class Calls:
    """The hook before each call. What is set on it by the faults lasts until they take it back."""

    def __init__(self, world):
        self._world = world
        self._rng = world.rng("calls")
        self.count = {"a": 0, "b": 0}
        self.doom = {}
        self._steps = {"a": 0, "b": 0}
        self._has_moved = {"a": False, "b": False}
        self._fatal = {}
        self.troubles = {"a": [], "b": []}
        self.intruders_per_mille = 0
        self.intrude = None
        self.aims = Aims(world)

    def doom_at(self, side, calls, is_power_cut):
        """Have a server die after so many more calls."""
        self.doom[side] = (self.count, self.count[side] + calls, is_power_cut)

    def doom_at_step(self, side, steps, is_power_cut):
        """Have a server die after so many more of the calls that move a name, make something durable, or commit."""
        self.doom[side] = (self._steps, self._steps[side] + steps, is_power_cut)

    def spare(self, side):
        """Let a server live that has not died yet."""
        self.doom.pop(side, None)
        self._fatal.pop(side, None)

    def doom_after(self, side, is_meant, is_power_cut):
        """Have a server die right after the next call of which `is_meant(call, what)` is true."""
        self._fatal[side] = (is_meant, is_power_cut)

    def before(self, process, call, what):
        """Take part in a system call; what this returns or raises is the disk's answer."""
        side = process.machine.name
        self.count[side] += 1
        if side == "a":
            self._world.locks.check()
        if self._has_moved[side]:
            self._world.torn.look()
        self._has_moved[side] = call in MOVING
        if self.doom:
            self._perhaps_die(side, call, what)
            self._steps[side] += call in STEPS  # after the look: it dies at the call that follows the step
        if side in self._fatal and self._fatal[side][0](call, what):
            self.doom[side] = (self.count, self.count[side] + 1, self._fatal.pop(side)[1])
        if self.intruders_per_mille and self._rng.randrange(1000) < self.intruders_per_mille:
            self.intrude(side, call, self._world.plan.operations)
        fewer = self.aims.before_call(side, call, what) if self.aims.is_on else None
        return (self._perhaps_fail(side, call, what) if self.troubles[side] else None) or fewer

    def before_statement(self, process, statement):
        """Take part in a statement of a database."""
        if process is None or process.name not in self.troubles:
            return
        side = process.name
        self.count[side] += 1
        self._perhaps_die(side, "sql", statement.split()[0])
        self._steps[side] += statement == "COMMIT"
        process.check()
        for trouble in self.troubles[side]:
            is_change = statement.split()[0] in ("INSERT", "UPDATE", "DELETE", "COMMIT")
            if is_change and trouble.is_database and self._rng.randrange(1000) < trouble.per_mille:
                raise sqlite3.OperationalError("disk I/O error")

    def _perhaps_die(self, side, call, what):
        doom = self.doom.get(side)
        if doom is None or doom[0][side] < doom[1]:
            return
        del self.doom[side]
        server = self._world.servers[side]
        if not server.is_running:
            return
        self._world.trace(f"at call {call} {_shown(what)}:")
        if doom[2]:
            server.power_cut(self._world.rng(f"power {self.count[side]}"))
        else:
            server.kill()

    def _perhaps_fail(self, side, call, what):
        for trouble in self.troubles[side]:
            if trouble.begins is not None:
                trouble.begins = None if trouble.begins(call, what) else trouble.begins
                continue
            is_concerned = call in trouble.calls and not (
                trouble.errno == errno.ENOSPC and self._needs_no_room(call, what)
            )
            if is_concerned and trouble.times > 0 and self._rng.randrange(1000) < trouble.per_mille:
                trouble.times -= 1
                if trouble.errno is None:
                    return 1
                self._world.trace(f"{side}: {call} fails with {errno.errorcode[trouble.errno]}")
                raise OSError(trouble.errno, errno.errorcode[trouble.errno])
        return None

    def _needs_no_room(self, call, what):
        """Return whether a call that may make something finds it there already."""
        if call not in MAKING:
            return False
        try:
            return self._world.disk.walk(*what[:2], follows=False)[2] is not None
        except OSError:
            return True  # it has another reason to fail


def is_keeping(call, what):
    """Return whether a call sets a file aside."""
    return call == "renameat2" and isinstance(what[2], Node) and what[2].name == b"versions"


def is_keeping_without_row(database, call, what):
    """Return whether a call sets a file aside of which no row of the index says what it was called."""
    if not is_keeping(call, what):
        return False
    paths = database.committed("SELECT path FROM index_entries")
    return what[3].partition(b"-")[0] not in {path_hash(RelPath(path)) for (path,) in paths}


class Putting:
    """Notices one of `calls` that gives a file a name in the directory `top`; `file` is the last one."""

    def __init__(self, disk, top, calls=MOVING):
        self._disk = disk
        self._top = top
        self._calls = calls
        self.file = None

    def __call__(self, call, what):
        """Return whether this is such a call."""
        if call not in self._calls or not all(isinstance(node, Node) for node in what[:4:2]):
            return False
        node, into = what[0].children.get(what[1]), self._disk.path_of(what[2])
        is_it = node is not None and node.is_file and into.startswith(self._top) and STAGING_PREFIX not in into
        if is_it:
            self.file = node
        return is_it


def is_receiving(call, what):
    """Return whether a call gives a content that has arrived whole the name by which it is believed."""
    return call == "rename" and RECEIVED.fullmatch(what[3]) is not None


def _shown(what):
    return what if isinstance(what, str) else " ".join(repr(one) for one in what)[:120]
