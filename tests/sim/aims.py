"""People and clients who come at the very moment at which it matters, aimed at the calls and jobs of the servers.

By chance alone nobody comes between two calls that follow each other at once. What is aimed at: the rename of an
apply (somebody changes that very name right before it), a file that is being read (its writer goes on, or somebody
begins to write, also between two parts of one read), a file that has been set aside (its writer goes on), an apply to
Server A that waits for its thread (somebody locks the name), and an inventory of Server A that is being taken in
(somebody unlocks a name).
"""

from functools import partial
from itertools import pairwise

from dirsync.replica.looking import Ask
from tests.sim.nodes import Node
from tests.sim.operations import NAMES, PATCH_BYTES
from tests.sim.servers import directory_of

IN_PLACE = ("write", "append", "patch")
"""What somebody does to a file that is being read."""
MOVING = ("rename", "renameat2")
_READING = ("pread", "read")
_OPENED = ("open", "lease", "fsync", "fstat", *_READING)
LOCK_SECONDS = 0.05
UNLOCK_SECONDS = 0.5


class Aims:
    """The aimed troubles of one plan. `go_on(side)` has whoever is writing there do his next step."""

    def __init__(self, world):
        self._world = world
        self._rng = world.rng("aims")
        # What leaves length and time as they were is told apart by nothing once a name has been moved.
        self._telling = [kind for kind in world.plan.operations if kind != "rewrite_silently"]
        self._halved = None
        self._hastily_locked = {}
        self.is_on = False
        self.intrude = None
        self.go_on = None
        self.ask = None

    def before_call(self, side, call, what):
        """Take part in a system call of a server. Returns how many bytes a read gives, where it is to give fewer."""
        if call in MOVING:
            self._before_move(side, call, what)
        elif call in _OPENED:
            node = self._meant(side, what)
            if node is None or not node.is_file:
                return None
            if node.writers and self._rng.random() < self._world.plan.aimed:
                self.go_on(side)
            if call in _READING:
                return self._while_read(side, call, what[0], node)
        return None

    def _before_move(self, side, call, what):
        for path in self._names(side, what):
            if path in NAMES and self._rng.random() < self._world.plan.aimed / 4:
                self.intrude(side, f"{call} {path.decode()}", self._telling, path)

    def _while_read(self, side, call, number, node):
        """Give less than there is, and have somebody write before the rest is read."""
        if self._halved == number:
            self._halved = None
            path = self._world.disk.path_of(node).removeprefix(_top(side))
            if path in NAMES:
                self.intrude(side, f"the rest of a {call}", IN_PLACE, path)
            return None
        # What is written within the tick of the last change is told by no stamp.
        is_fresh = node.ctime_ns == node.fs.stamp()
        if len(node.data) > 1 and self._rng.random() < self._world.plan.aimed / (1 if is_fresh else 8):
            self._halved = number
            return min(len(node.data) // 2, PATCH_BYTES // 2)
        return None

    def _meant(self, side, what):
        """Return the node that a call is about; None where there is none."""
        if isinstance(what[0], int):
            return self._world.disk.file(what[0]).node
        try:
            return self._world.disk.walk(*what[:2], follows=False)[2] if what[1] else what[0]
        except OSError:
            return None

    def _names(self, side, what):
        """Yield the paths in the synchronised directory that a call is about."""
        top = _top(side)
        for directory, name in pairwise(what):
            if isinstance(directory, Node) and isinstance(name, bytes):
                path = name if name.startswith(b"/") else self._world.disk.path_of(directory) + b"/" + name
                if path.startswith(top):
                    yield path.removeprefix(top)

    def around_job(self, process, kind, call):
        """Return how long a job waits beside what any job waits, and how long its outcome does."""
        if kind == "apply" and process.name == "a":
            return self._before_apply(call), 0.0
        if kind in ("look", "large"):
            seconds = self._around_look(process.name, call)
            return self._rng.choice(((seconds, 0.0), (0.0, seconds))) if seconds else (0.0, 0.0)
        return 0.0, 0.0

    def _before_apply(self, call):
        """Have an apply wait for a lock of its name, sometimes."""
        if self._rng.random() >= self._world.plan.aimed / 4:
            return 0.0
        paths = sorted({path for path in _applied(call) if path in NAMES})
        if not paths:
            return 0.0
        self.ask("lock", self._rng.choice(paths))
        return self._rng.random() * LOCK_SECONDS

    def _around_look(self, side, call):
        """Have a look wait for a lock of its name, sometimes, and the next one there for the unlock, and for `wait`."""
        if not self._world.plan.hasty_locks:
            return 0.0
        paths = sorted({path for path in _looked_at(call) if path in NAMES})
        locked = self._hastily_locked.get(side)
        if locked in paths:
            del self._hastily_locked[side]
            self.ask("unlock", locked)
            self.ask("wait", locked)
        elif paths and self._rng.random() < self._world.plan.hasty_locks:
            self._hastily_locked[side] = self._rng.choice(paths)
            self.ask("lock", self._hastily_locked[side])
        else:
            return 0.0
        return self._rng.random() * UNLOCK_SECONDS

    def between_parts(self, process):
        """Return how long the next part of an inventory waits: for an unlock of a name with updates, sometimes."""
        queued = sorted(self._world.queued_names()) if process.name == "a" else []
        if not queued or self._rng.random() >= self._world.plan.aimed:
            return 0.0
        self.ask("unlock", self._rng.choice(queued))
        return self._rng.random() * UNLOCK_SECONDS


def _top(side):
    return directory_of(side).encode() + b"/"


def _applied(call):
    """Yield the paths of the steps that an apply is handed."""
    if isinstance(call, partial):
        for argument in call.args:
            if isinstance(argument, list | tuple):
                yield from (step.action.path for step in argument if hasattr(step, "action"))


def _looked_at(call):
    """Yield the paths that a look is asked about."""
    if isinstance(call, partial):
        for argument in call.args:
            asks = argument if isinstance(argument, list | tuple) else [argument]
            yield from (each.path for each in asks if isinstance(each, Ask))
