"""A POSIX file system in memory, for a simulation of several machines in one process.

What there is, file by file:

* `disk`: `SimDisk` with its machines and processes; who may be killed, and which calls somebody wants to see.
* `nodes`: inodes and file systems, and what of them no sync has made durable yet.
* `calls`, `names`: `SimOS`, in place of the module `os`, with the calls and errors of Linux.
* `modules`: `SimFcntl`, `SimLibc`, `SimTime`, `SimSecrets` and `SimPath`, in place of what else touches the disk.
* `patching`: `simulated(disk)`, which puts all of them in place of the real ones in the modules of dirsync.
* `power`: what a power cut leaves.
* `watching`: `SimWatcher`, in place of the watcher of the product.
* `person`: a user at one of the machines.

Simulated paths begin with `/sim`; every other path, and every real descriptor, goes to the real system. Times come
from the clock of each machine, inode numbers are used again, descriptors are not (so that a stale one is noticed).

    disk = SimDisk(clock)                       # clock() -> ns, virtual
    a = disk.machine("a")                       # mounts /sim/a
    with simulated(disk, rng):
        with a.process("server a").running():
            ...                                 # product code, on /sim/a/...
        disk.kill(process)                      # its further calls raise Killed
        power_cut(a, rng)                       # kills all its processes, and forgets what was not synced

`disk.before_call(process, call, what)` is called before each call of a process that is `watched`: it may raise an
OSError (the call fails with it), act as somebody else, kill the process, or return a number: the bytes that a write
or read is cut short to.
"""

import errno
import os
from contextlib import contextmanager
from contextvars import ContextVar

from tests.sim.nodes import FileSystem, failure

TOP = b"/sim"
FIRST_DESCRIPTOR = 1 << 20
CALL_NS = 700
"""What one look at a clock takes, at least: a machine's clock never stands still."""
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4096
LINKS_MAX = 40
_SLASH = 0x2F
_DOTS = (b".", b"..")

running = ContextVar("running", default=None)
"""The process that is running now; None for people, and for whoever looks on."""


def is_a_person():
    """Return whether what runs now is no watched process."""
    process = running.get()
    return process is None or not process.is_watched


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Process:
    """A process on a machine: what it has open ends with it. `is_watched`: its calls are shown to `before_call`."""

    def __init__(self, machine, name, is_watched):
        self.machine = machine
        self.name = name
        self.is_watched = is_watched
        self.is_killed = False
        self.descriptors = {}

    @contextmanager
    def running(self):
        """Be the running process within the block, also for the tasks that are made there."""
        token = running.set(self)
        try:
            yield self
        finally:
            running.reset(token)


class Machine:
    """A machine: a clock, which may be wrong, its file systems, its processes. Mounted at `/sim/NAME`."""

    def __init__(self, disk, name, clock):
        self.disk = disk
        self.name = name
        self.processes = []
        self.file_systems = []
        self.boots = 1
        self._clock = clock
        self._offset_ns = 0
        self._last_ns = 0

    def now(self):
        """Return the wall clock in ns; it goes on a little with every look, and steps only where `step` says so."""
        self._last_ns = max(self._clock() + self._offset_ns, self._last_ns + CALL_NS)
        return self._last_ns

    def instant(self):
        """Return what the wall clock showed when this moment of virtual time began."""
        return self._clock() + self._offset_ns

    def step(self, difference_ns):
        """Set the wall clock forward or back."""
        self._offset_ns += difference_ns
        self._last_ns += difference_ns

    def process(self, name, *, is_watched=True):
        """Return a new process."""
        process = Process(self, name, is_watched)
        self.processes.append(process)
        return process

    def mount(self, path):
        """Make a new file system and mount it at a directory of this machine; return it."""
        fs = FileSystem(self.disk.next_device(), self.now)
        self.file_systems.append(fs)
        self.disk.mount_at(path, fs.root)
        return fs


class OpenFile:
    """An open file description. `directory` and `name` are those it was opened by."""

    __slots__ = (
        "can_read",
        "can_write",
        "directory",
        "is_appending",
        "is_path_only",
        "name",
        "node",
        "offset",
        "owner",
    )

    def __init__(self, node, directory, name, owner, flags):
        self.node = node
        self.directory = directory
        self.name = name
        self.owner = owner
        self.offset = 0
        self.is_path_only = bool(flags & os.O_PATH)
        self.is_appending = bool(flags & os.O_APPEND)
        mode = flags & os.O_ACCMODE
        self.can_write = mode != os.O_RDONLY and not self.is_path_only
        self.can_read = mode != os.O_WRONLY and not self.is_path_only


class SimDisk:
    """All machines' file systems in one tree. `clock()` returns ns of virtual time since the epoch."""

    def __init__(self, clock):
        self.clock = clock
        self.before_call = None
        self.listeners = []
        self.machines = {}
        self.descriptors = {}
        self.closed_by_kill = set()
        self._next_descriptor = FIRST_DESCRIPTOR
        self._next_device = 1
        self._is_hooked = False
        self.root = FileSystem(self.next_device(), clock).root

    def machine(self, name):
        """Return a new machine with one file system."""
        machine = Machine(self, name, self.clock)
        self.machines[name] = machine
        at = os.fsencode(name)
        self.make_directory(self.root, TOP[1:])
        self.make_directory(self.root.children[TOP[1:]], at)
        machine.mount(TOP + b"/" + at)
        return machine

    def next_device(self):
        """Return a device number never used before."""
        self._next_device += 1
        return self._next_device - 1

    def mount_at(self, path, root):
        """Mount a file system's root over the directory at `path`; what is there is hidden meanwhile."""
        directory = self.find(path)
        directory.mounted = root
        root.mounted_on = directory

    def unmount(self, path):
        """Take away what is mounted at `path`; who has it open goes on with it. Returns its root."""
        root = self.find(path)
        root.mounted_on.mounted = None
        root.mounted_on = None
        return root

    @staticmethod
    def make_directory(parent, name):
        """Make a directory that belongs to no machine, for what a test needs outside of them."""
        if name not in parent.children:
            parent.fs.rename([(parent, name, None, parent.fs.make(parent.mode))])

    # Processes

    def enter(self, call, *what):
        """Begin a system call: show it to who wants to see it. Raises Killed, or the OSError it fails with."""
        process = running.get()
        if process is None:
            return None
        if process.is_killed:
            raise Killed(process.name)
        if self.before_call is None or self._is_hooked or not process.is_watched:
            return None
        self._is_hooked = True
        token = running.set(None)
        try:
            limit = self.before_call(process, call, what)
        finally:
            running.reset(token)
            self._is_hooked = False
        if process.is_killed:
            raise Killed(process.name)
        return limit

    def kill(self, process):
        """End a process at once: its descriptors close, its locks and leases end, all it wrote stays."""
        process.is_killed = True
        if process in process.machine.processes:
            process.machine.processes.remove(process)
        self.closed_by_kill.update(process.descriptors)
        for number in list(process.descriptors):
            self.release(number)

    def close_all(self, machine):
        """Close whatever anybody has open on a machine."""
        for number, file in list(self.descriptors.items()):
            if file.node.fs in machine.file_systems:
                self.release(number)

    def tell(self, kind, directory, name, node):
        """Tell the listeners what happened to a name, as inotify would."""
        for listener in self.listeners:
            listener(kind, directory, name, node)

    # Descriptors

    def allot(self, node, directory, name, flags):
        """Return a new descriptor."""
        process = running.get()
        number = self._next_descriptor
        self._next_descriptor += 1
        file = OpenFile(node, directory, name, process, flags)
        self.descriptors[number] = file
        if process is not None:
            process.descriptors[number] = file
        node.opened += 1
        if file.can_write:
            node.writers += 1
        return number

    def file(self, number):
        """Return what is open as this descriptor. Raises EBADF."""
        file = self.descriptors.get(number)
        if file is None:
            process = running.get()
            if process is not None and process.is_killed:
                raise Killed(process.name)
            raise failure(errno.EBADF)
        return file

    def release(self, number):
        """Close a descriptor. Raises EBADF."""
        file = self.file(number)
        del self.descriptors[number]
        if file.owner is not None:
            file.owner.descriptors.pop(number, None)
        node = file.node
        node.opened -= 1
        if file.can_write:
            node.writers -= 1
        if node.locker is file:
            node.locker = None
        if node.lease is file:
            node.lease = None
        if not node.opened and not node.links:
            node.fs.drop_if_unused(node)
        return file

    # Paths

    def find(self, path):
        """Return the node at an absolute path, links followed. Raises OSError."""
        node = self.walk(self.root, path, follows=True)[2]
        if node is None:
            raise failure(errno.ENOENT)
        return node

    def walk(self, at, path, *, follows, is_beneath=False):
        """Return (directory, last name, node or None) for a path from a directory.

        The directory is None where the path ends in `.`, `..` or `/`: then the node is there, but no name to change.
        `is_beneath` refuses to follow any link and to leave `at`, as openat2 does.
        """
        node = self._start(at, path, is_beneath)
        names = [name for name in path.split(b"/") if name]
        names.reverse()
        must_be_directory = path[-1] == _SLASH
        directory, last, links = None, b".", 0
        while names:
            name = names.pop()
            if node.children is None:
                raise failure(errno.ENOTDIR)
            if name in _DOTS:
                node = self._dots(at, node, name, is_beneath)
                directory, last = None, name
                continue
            child = self._child(node, name)
            if child is None:
                if names:
                    raise failure(errno.ENOENT)
                return node, name, None
            if child.is_link and (names or follows or must_be_directory):
                links += 1
                if is_beneath or links > LINKS_MAX:
                    raise failure(errno.ELOOP)
                must_be_directory |= not names and child.data[-1] == _SLASH
                node = _expand(child.data, names, self.root, node)
                directory, last = None, b"."
                continue
            directory, last, node = node, name, child
        if must_be_directory and node.children is None:
            raise failure(errno.ENOTDIR)
        return directory, last, node

    def _start(self, at, path, is_beneath):
        if not path:
            raise failure(errno.ENOENT)
        if len(path) >= PATH_BYTES_MAX:
            raise failure(errno.ENAMETOOLONG)
        if path[0] != _SLASH:
            return at
        if is_beneath:
            raise failure(errno.EXDEV)
        return self.root

    @staticmethod
    def _dots(at, node, name, is_beneath):
        if name == b".":
            return node
        if is_beneath and node is at:
            raise failure(errno.EXDEV)
        above = node.mounted_on or node
        return above.parent

    @staticmethod
    def _child(directory, name):
        if len(name) > NAME_BYTES_MAX:
            raise failure(errno.ENAMETOOLONG)
        child = directory.children.get(name)
        return child.mounted if child is not None and child.mounted is not None else child

    def path_of(self, node):
        """Return the absolute path of a directory that is there; of anything else, that of the name it got last."""
        names = []
        while node is not self.root:
            node = node.mounted_on or node
            names.append(node.name)
            node = node.parent
        return b"/" + b"/".join(reversed(names))

    def real_path(self, path):
        """Return an absolute path with the links in it resolved, as far as anything is there."""
        names = path.split(b"/")
        names.reverse()
        found, links = b"", 0
        while names:
            name = names.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                found = found.rpartition(b"/")[0]
                continue
            try:
                node = self.walk(self.root, found + b"/" + name, follows=False)[2]
            except OSError:
                node = None
            if node is not None and node.is_link and links < LINKS_MAX:
                links += 1
                names.extend(reversed(node.data.split(b"/")))
                found = b"" if node.data[0] == _SLASH else found
            else:
                found += b"/" + name
        return found or b"/"


def _expand(target, names, root, node):
    """Put the names of a link's target on the stack; return where they are walked from."""
    names.extend(reversed([name for name in target.split(b"/") if name]))
    return root if target[0] == _SLASH else node
