"""What must hold, as classes: while things happen (honest, torn), and when everything has come to rest (the others)."""

import re

from blake3 import blake3

from dirsync.core.entry import Directory, File, Symlink
from dirsync.store import archive, hold_rows, version_rows
from tests.sim.servers import state_of
from tests.sim.trees import STAGING_PREFIX, difference, nodes_below

UNSEEN_SECONDS = 30.0
"""`in_sync` answers for what was hinted at: of what nobody hinted at, a scan learns within this."""
TASKS_MAX = 60
MARKS_MAX = 3
"""Marks of a watcher that may be on their way while somebody looks."""
DESCRIPTORS_MAX = 12
RECOVERED = b"recovered-"
"""Begins the path of a version of which nobody knows what it was called."""
RECEIVED = re.compile("[0-9a-f]{64}([.]part)?")
"""A content that was brought over may be wanted for a day, and a transfer that was broken off go on."""


class Honest:
    """`in_sync` is said, and `wait` answers, only when it is true."""

    def __init__(self, world):
        self._world = world

    def in_sync(self):
        """It was announced: what people did long ago must have arrived."""
        self._compare(self._world.loop.time() - UNSEEN_SECONDS, "in_sync was announced")

    def waited(self, asked):
        """A client was told that everything done before `asked` is in sync."""
        self._compare(asked, "`wait` has answered")

    def _compare(self, since, when):
        world = self._world
        if not all(server.is_running for server in world.servers.values()):
            return
        lines = difference(*(world.tree(side) for side in "ab"))
        if not lines:
            return
        aside = {path for (_, path), at in world.last_act.items() if at >= since}
        aside |= world.held_names() | world.locks.being_restored
        trees = [
            {path: found for path, found in world.tree(side).items() if not _concerns(path, aside)} for side in "ab"
        ]
        lines = difference(*trees)
        if lines:
            world.violated("honest", f"{when}, but {'; '.join(lines)}")


def _concerns(path, paths):
    """Return whether a path may differ: one of `paths` (changed just now, or held aside), or above or below it."""
    return any(path == one or path.startswith(one + b"/") or one.startswith(path + b"/") for one in paths)


class Torn:
    """A reader sees only what somebody wrote."""

    def __init__(self, world):
        self._world = world
        self._looked = {}

    def look(self):
        """Look at both directories now."""
        world = self._world
        for side in "ab":
            # What was right stays so: a draft only comes of age, and nothing that was written is forgotten.
            if self._looked.get(side) == world.view(side).version:
                continue
            self._looked[side] = world.view(side).version
            for path, content in world.view(side).contents.items():
                if path.startswith(b".dirsync-"):
                    continue
                if not world.ledger.may_stand(content, side, world.loop.time()):
                    world.violated("torn", f"{path.decode()} at {side} holds {content[:40]!r} ({len(content)} bytes)")


def check_convergence(world):
    """Both directories are the same, and the archive says what they hold."""
    a, b = (world.tree(side) for side in "ab")
    lines = difference(a, b)
    if lines:
        world.violated("convergence", "; ".join(lines))
        return
    with world.servers["a"].database.opened.transaction() as connection:
        base = dict(archive.load(connection))
    held = {path: _entry(found) for path, found in a.items() if found.kind != "other"}
    for path in sorted(base.keys() | held.keys()):
        if base.get(path) != held.get(path):
            world.violated("archive", f"{path.decode()}: recorded {base.get(path)}, there is {held.get(path)}")
            return


def _entry(found):
    match found.kind:
        case "directory":
            return Directory(found.mode)
        case "link":
            return Symlink(found.data)
        case _:
            return File(blake3(found.data).digest(), len(found.data), found.mtime_ns, found.mode)


def check_loss(world):
    """Whatever somebody finished writing is live on both sides or kept, or was destroyed by somebody who had it."""
    live = [set(world.view(side).contents.values()) for side in "ab"]
    kept = set().union(*(kept_contents(world, side) for side in "ab"))
    for value in world.ledger.lost((live[0] & live[1]) | kept):
        where = "only at one side" if value.content in live[0] | live[1] else "nowhere"
        world.violated("loss", f"{value.path.decode()} of {value.side}, {value.content[:40]!r}, is {where}")
        return


def check_deletions(world):
    """What was kept because it was deleted, somebody deleted: nobody else may take a value away from where it stands.

    The order of a lock's queue is its own: there an edit may give way to a deletion that was made without it. What
    gives way to a version that is brought back is not looked for either, nor what was put into a file without a trace:
    in the few calls between the look and the swap nothing tells of it, once the name has been moved. And what was
    written on in a file that was set aside is another content than the one that went.
    """
    spared = world.people["a"].silent | world.people["b"].silent | world.ledger.set_aside
    standing = world.view("a").contents.items() & world.view("b").contents.items()
    for side in "ab":
        directory = world.disk.find(f"{state_of(side)}/versions".encode())
        files = {name.decode(): node.data for name, node in directory.children.items()}
        with world.servers[side].database.opened.transaction() as connection:
            rows = connection.execute("SELECT file, path FROM versions WHERE why = 'deleted'").fetchall()
        for file, path in rows:
            value = world.ledger.values.get(content := files.get(file))
            if value is None or value.excuse or (path, content) in world.ledger.taken or content in spared:
                continue
            if any(there == content and where != path for where, there in standing):
                continue  # it went along with a directory that somebody moved while it was put there
            if not _concerns(path, world.locks.asked_for):
                world.violated("deletion", f"{path.decode()} at {side}, {content[:40]!r}, was deleted by nobody")
                return


def outdated_versions(world, side):
    """Return the paths of the versions of a side whose rows say another length and time than their files have.

    A program that still had one open may have written to it since it was set aside: whoever asks for the history is
    told of the files as they are.
    """
    directory = world.disk.find(f"{state_of(side)}/versions".encode())
    files = {name.decode(): node for name, node in directory.children.items()}
    query = "SELECT file, path, digest, size, mtime_ns FROM versions WHERE digest IS NOT NULL"
    with world.servers[side].database.opened.transaction() as connection:
        rows = connection.execute(query).fetchall()
    found = set()
    for file, path, digest, size, mtime_ns in rows:
        node = files.get(file)
        is_told = node is None or (len(node.data), node.mtime_ns) == (size, mtime_ns)
        if not is_told and blake3(node.data).digest() != digest:
            found.add(path)
    return found


def kept_contents(world, side):
    """Return the contents that `history` of a side could bring back: the file is there and is what its row says."""
    directory = world.disk.find(f"{state_of(side)}/versions".encode())
    files = {name.decode(): node.data for name, node in directory.children.items()}
    with world.servers[side].database.opened.transaction() as connection:
        rows = connection.execute("SELECT file, path, digest, why FROM versions WHERE digest IS NOT NULL").fetchall()
    found = set()
    # Of a content that could not be moved there may be a second copy, which nobody needs to know.
    named = {files.get(file) for file, path, *_ in rows if not path.startswith(RECOVERED)}
    nameless = set() if "lost_state" in world.plan.faults else world.ledger.values.keys() - named
    for file, path, digest, why in rows:
        content = files.get(file)
        if path.startswith(RECOVERED) and content in nameless:
            world.violated("kept", f"a version at {side} ({why}, {file}) has lost its name")
        is_whole = content is not None and blake3(content).digest() == digest
        if not is_whole and (content is None or not world.ledger.is_known(content)):
            what = "is not there" if content is None else f"holds {content[:40]!r} ({len(content)} bytes)"
            world.violated("kept", f"the version of {path.decode()} at {side} ({why}, {file}) {what}")
        else:
            found.add(content)
    return found


def check_invention(world):
    """No name that nobody gave, no content that nobody wrote.

    A directory may be renamed while something is put into it: then only the parts of the new name were given.
    """
    known = {path for _, path in world.last_act}
    names = {path.rpartition(b"/")[2] for path in known}
    for side in "ab":
        for path, content in world.view(side).contents.items():
            if path.startswith(STAGING_PREFIX):
                continue  # what may be left there is seen by the checker of bounds
            above, _, name = path.rpartition(b"/")
            is_given = path in known or (above in known and name in names)
            if not is_given or not world.ledger.is_known(content):
                world.violated("invention", f"{path.decode()} at {side} holds {content[:40]!r}")
                return


def check_bounds(world):
    """Nothing is left over: staged files, spool files and captures without rows, descriptors, tasks."""
    for side in "ab":
        state = world.disk.find(state_of(side).encode())
        rest = {
            name: {path.decode() for path, below in nodes_below(node) if not below.is_directory}
            for name, node in state.children.items()
            if node.is_directory
        }
        for path in world.view(side).contents:
            if path.startswith(STAGING_PREFIX):
                rest[b"staging"].add(path.partition(b"/")[2].decode())
        with world.servers[side].database.opened.transaction() as connection:
            wanted = {
                b"spool": hold_rows.spool_files(connection),
                b"captures": set(),
                b"staging": set(),
                b"versions": version_rows.files(connection),
            }
        for name, files in wanted.items():
            found = {file for file in rest.get(name, ()) if not RECEIVED.fullmatch(file)}
            if found != files:
                world.violated("bounds", f"{name.decode()} at {side} holds {found - files}, lacks {files - found}")
                return
        if len(rest.get(b"watch", ())) > MARKS_MAX:
            world.violated("bounds", f"watch at {side} holds {rest[b'watch']}")
            return
        process = world.servers[side].process
        if len(process.tasks) > TASKS_MAX or len(process.on_disk.descriptors) > DESCRIPTORS_MAX:
            world.violated(
                "bounds",
                f"{len(process.tasks)} tasks, {len(process.on_disk.descriptors)} descriptors at {side}",
            )
            return
