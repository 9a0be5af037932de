"""What a simulated disk consists of: inodes, and the file systems that own them.

A file system is always seen as it is now. Beside that it remembers what no sync has made durable yet: the earlier
states of each inode, and each change of a name, with what that change rests on. Only `power` reads this memory.
"""

import errno
import heapq
import os
import stat

FIRST_INODE = 12
STATES_MAX = 12
"""Unsynced states remembered of one inode; between the first and the newest the oldest are forgotten."""
BLOCK_BYTES = 4096


def failure(number):
    """Return the error that the kernel gives for an errno."""
    return OSError(number, os.strerror(number))


class Node:
    """An inode: a file, directory, link or FIFO. Directories have `children`; `data` of a link is its target."""

    __slots__ = (
        "children",
        "ctime_ns",
        "data",
        "fs",
        "gid",
        "inode",
        "is_directory",
        "is_file",
        "is_link",
        "is_persons",
        "is_unwritable",
        "last_op",
        "lease",
        "links",
        "locker",
        "mode",
        "mounted",
        "mounted_on",
        "mtime_ns",
        "name",
        "opened",
        "ops",
        "parent",
        "states",
        "uid",
        "writers",
        "xattrs",
    )

    def __init__(self, fs, inode, mode, now_ns, data=b""):
        self.fs = fs
        self.inode = inode
        self.mode = mode
        self.uid = self.gid = fs.uid
        self.mtime_ns = self.ctime_ns = now_ns
        self.data = data
        self.xattrs = {}
        self.is_directory, self.is_file, self.is_link = stat.S_ISDIR(mode), stat.S_ISREG(mode), stat.S_ISLNK(mode)
        self.children = {} if self.is_directory else None
        self.links = 0
        self.parent = None  # the directory it was last given a name in; itself for a root
        self.name = b""
        self.mounted = None
        self.mounted_on = None
        self.opened = 0
        self.writers = 0
        self.lease = None
        self.locker = None
        self.is_persons = True  # its content was last changed by somebody who is no watched process
        self.is_unwritable = False  # a sync of it failed: what it held then never reaches the disk
        self.states = None
        self.last_op = None
        self.ops = {}

    def __repr__(self):
        return f"inode {self.inode}"  # the same in each run of a seed

    @property
    def nlink(self):
        if self.children is None:
            return self.links
        if self.links == 0:
            return 0
        return 2 + sum(1 for child in self.children.values() if child.children is not None)

    def state(self):
        return (self.data, self.mode, self.uid, self.gid, self.mtime_ns, self.ctime_ns, self.xattrs)

    def restore(self, state):
        self.data, self.mode, self.uid, self.gid, self.mtime_ns, self.ctime_ns, self.xattrs = state

    def status(self):
        """Return its stat."""
        size = len(self.data) if self.children is None else BLOCK_BYTES
        seconds = self.mtime_ns // 1_000_000_000
        changed = self.ctime_ns // 1_000_000_000
        return os.stat_result(
            (
                self.mode,
                self.inode,
                self.fs.device,
                self.nlink,
                self.uid,
                self.gid,
                size,
                seconds,
                seconds,
                changed,
                self.mtime_ns / 1e9,
                self.mtime_ns / 1e9,
                self.ctime_ns / 1e9,
                self.mtime_ns,
                self.mtime_ns,
                self.ctime_ns,
                BLOCK_BYTES,
                -(-size // 512),
                0,
            )
        )


class Op:
    """One change of names that a power cut keeps or undoes as a whole.

    `changes` are (directory, name, node before, node after); `needs` are the unsynced changes it rests on.
    `is_persons`: no watched process made it.
    """

    __slots__ = ("at_ns", "changes", "is_durable", "is_persons", "needs", "number")

    def __init__(self, number, changes, needs, at_ns, is_persons):
        self.number = number
        self.changes = changes
        self.needs = needs
        self.at_ns = at_ns
        self.is_durable = False
        self.is_persons = is_persons


class FileSystem:
    """One file system. `now` returns its machine's clock in ns; `room` bounds its content bytes (None: no bound).

    `grain_ns` is how coarsely it stores the kernel's own stamps, `stored_ns` any time at all. Freed inode numbers are
    used again, lowest first, while `reuses_inodes` is set.
    """

    def __init__(self, device, now, grain_ns=1):
        self.device = device
        self.uid = 0
        self.room = None
        self.inodes_left = None
        self.is_read_only = False
        self.reuses_inodes = True
        self.grain_ns = grain_ns
        self.stored_ns = 1
        self.used = 0
        self.version = 0  # another one after each change
        self.dirty = {}
        self.log = {}
        self._now = now
        self._freed = []
        self._next_inode = FIRST_INODE
        self._next_op = 0
        self._last_directory_op = None
        self.root = self.make(stat.S_IFDIR | 0o755)
        self.root.parent = self.root
        self.root.links = 1
        self.sync()

    def stamp(self):
        """Return the time that the kernel would give a change made now."""
        now = self._now()
        return now - now % self.grain_ns

    # Inodes

    def make(self, mode, data=b""):
        """Return a new inode that no name leads to yet."""
        if self.inodes_left is not None:
            if self.inodes_left <= 0:
                raise failure(errno.ENOSPC)
            self.inodes_left -= 1
        node = Node(self, self._free_number(), mode, self.stamp(), data)
        node.states = [node.state()]
        self.dirty[node] = None
        return node

    def drop_if_unused(self, node):
        """Free an inode that no name and no descriptor leads to."""
        if node.links or node.opened:
            return
        self.used -= len(node.data)
        self.dirty.pop(node, None)
        if self.inodes_left is not None:
            self.inodes_left += 1
        if self.reuses_inodes:
            heapq.heappush(self._freed, node.inode)

    def _free_number(self):
        if self._freed and self.reuses_inodes:
            return heapq.heappop(self._freed)
        return self.fresh_number()

    def fresh_number(self):
        """Return an inode number never used before."""
        self._next_inode += 1
        return self._next_inode - 1

    def change(self, node):
        """Remember the present state of an inode that is about to change."""
        self.version += 1
        states = node.states
        if states is None:
            node.states = [node.state()]
            self.dirty[node] = None
            return
        states.append(node.state())
        if len(states) > STATES_MAX:
            del states[1]

    def set_data(self, node, data):
        """Replace the content; the caller has called `change`. Raises ENOSPC where there is no room."""
        used = self.used + len(data) - len(node.data)
        if self.room is not None and used > self.room and len(data) > len(node.data):
            raise failure(errno.ENOSPC)
        self.used = used
        node.data = data
        node.is_unwritable = False
        node.mtime_ns = node.ctime_ns = self.stamp()

    # Names

    def rename(self, changes, *, is_persons=False):
        """Make changes of names that belong together: (directory, name, node before, node after), now and in the log.

        Link counts follow; an inode that lost its last name lives on while it is open.
        """
        now = self.stamp()
        self.version += 1
        for directory, name, before, after in changes:
            if after is None:
                del directory.children[name]
            else:
                directory.children[name] = after
                after.parent, after.name = directory, name
            directory.mtime_ns = directory.ctime_ns = now
            if before is not None:
                before.links -= 1
                before.ctime_ns = now
            if after is not None:
                after.links += 1
                after.ctime_ns = now
        self._note(changes, is_persons)
        for _, _, before, _ in changes:
            if before is not None and not before.links:
                self.drop_if_unused(before)

    def _note(self, changes, is_persons):
        nodes = dict.fromkeys(node for *_, before, after in changes for node in (before, after) if node is not None)
        is_directory = any(node.children is not None for node in nodes)
        needs = [directory.ops.get(name) for directory, name, _, _ in changes]
        needs += [node.last_op for node in (*(change[0] for change in changes), *nodes)]
        needs += [op for node in nodes for op in node.ops.values()]
        if is_directory:
            needs.append(self._last_directory_op)
        needs = [need for need in dict.fromkeys(needs) if need is not None]
        op = Op(self._next_op, changes, needs, self._now(), is_persons)
        self._next_op += 1
        self.log[op.number] = op
        for directory, name, _, _ in changes:
            directory.ops[name] = op
        for node in nodes:
            node.last_op = op
        if is_directory:
            self._last_directory_op = op

    # Durability

    def sync_node(self, node):
        """Make an inode durable, and, of a directory, the names in it."""
        if not node.is_unwritable:
            node.states = None
            self.dirty.pop(node, None)
        if node.children is not None:
            for op in list(node.ops.values()):
                self._settle(op)

    def sync(self):
        """Make everything durable."""
        for op in list(self.log.values()):
            self._settle(op)
        for node in list(self.dirty):
            self.sync_node(node)

    def _settle(self, first):
        pending = [first]
        while pending:
            op = pending.pop()
            if op.is_durable:
                continue
            op.is_durable = True
            pending.extend(op.needs)
            op.needs = ()
            self.forget(op)

    def forget(self, op):
        """Take a change out of the log: it is durable, or undone."""
        del self.log[op.number]
        for directory, name, before, after in op.changes:
            if directory.ops.get(name) is op:
                del directory.ops[name]
            for node in (before, after):
                if node is not None and node.last_op is op:
                    node.last_op = None
        if self._last_directory_op is op:
            self._last_directory_op = None
