"""The checker of power cuts: what a server relied on is there when the power is back.

It relies on the rows that it has committed, on the files that those rows name, and on what it has put into the
directory: its content was durable before anybody saw it, its name before the index had it.
"""

from blake3 import blake3

from tests.sim.servers import state_of
from tests.sim.trees import STAGING_PREFIX, contents_below

_FILES = {
    "versions": "SELECT file, digest FROM versions WHERE digest IS NOT NULL",
    "spool": "SELECT file, digest FROM updates WHERE file IS NOT NULL",
    "captures": "SELECT file, digest FROM captures WHERE file IS NOT NULL",
}
"""Which files of the state directory are named by rows, by their directory there."""
INDEXED = "SELECT path, stat_inode, digest, stat_ctime_ns FROM index_entries WHERE digest IS NOT NULL"


class Durable:
    """Looks at one machine right before its power goes, and right after."""

    def __init__(self, world):
        self._world = world
        self._rows = {}
        self._whole = {}
        self._placed = {}
        self._indexed = {}

    def before_cut(self, side):
        """Take down what the server relies on."""
        self._rows = self._named(side)
        self._whole = {area: self._whole_files(side, area) for area in _FILES}
        placed = {path: node for path, node in self._standing(side).items() if not node.is_persons}
        self._placed = {node: node.data for node in placed.values()}
        instant_ns = self._world.machines[side].instant()
        placed = {path: node for path, node in placed.items() if not _is_being_moved(node, instant_ns)}
        rows = self._world.servers[side].database.committed(INDEXED)
        self._indexed = {path: placed[path] for path, *known in rows if path in placed and _is(placed[path], *known)}

    def after_cut(self, side):
        """Compare."""
        found = self._named(side)
        for area, rows in self._rows.items():
            lost = rows - found[area]
            if lost:
                self._world.violated("durable", f"{len(lost)} rows of {area} at {side} are gone after a power cut")
                return
            broken = {file for file, _ in rows} & (self._whole[area] - self._whole_files(side, area))
            if broken:
                self._world.violated("durable", f"{area} at {side} lack {sorted(broken)[:3]} after a power cut")
                return
        standing = self._standing(side)
        for path, node in standing.items():
            if self._placed.get(node, node.data) != node.data:
                text = f"{path.decode()} at {side} holds {node.data[:40]!r} ({len(node.data)} bytes) after a power cut"
                self._world.violated("durable", text)
                return
        for path, node in self._indexed.items():
            if standing.get(path) is not node:
                self._world.violated("durable", f"{path.decode()} at {side} is not what it was before a power cut")
                return

    def promised(self, side):
        """Return the contents that files with rows held when `before_cut` looked, and that nobody may drop any more.

        Captures are no promise: the state may pass as usual after all, or its lock may have ended.
        """
        return {self._files(side, area)[name] for area in ("versions", "spool") for name in self._whole[area]}

    def _named(self, side):
        database = self._world.servers[side].database
        return {area: set(database.committed(query)) for area, query in _FILES.items()}

    def _whole_files(self, side, area):
        files = self._files(side, area)
        return {file for file, digest in self._rows[area] if file in files and blake3(files[file]).digest() == digest}

    def _files(self, side, area):
        directory = self._world.disk.find(state_of(side).encode()).children.get(area.encode())
        return {} if directory is None else {name.decode(): data for name, data in contents_below(directory).items()}

    def _standing(self, side):
        nodes = self._world.view(side).nodes
        return {path: node for path, node in nodes if node.is_file and not path.startswith(STAGING_PREFIX)}


def _is(node, inode, digest, ctime_ns):
    """Return whether a row means this file: the number of another one that is gone may have come to it."""
    return (node.inode, node.ctime_ns) == (inode, ctime_ns) and blake3(node.data).digest() == digest


def _is_being_moved(node, instant_ns):
    """Return whether a person has renamed it, or something above it, and never synced that, or an apply just did.

    An apply takes no time here: what it did in this moment it has not answered for yet, as where it gives back what it
    took out. The name is older than that, and what lies in the staging area instead is kept by the next start.
    """
    while node.parent is not node:
        op = node.parent.ops.get(node.name)
        if op is not None and (op.is_persons or op.at_ns >= instant_ns):
            return True
        node = node.parent
    return False
