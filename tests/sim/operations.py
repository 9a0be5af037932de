"""What people do in the directories of a simulation, in the ways in which programs really save, move and delete.

Each operation is a generator: it yields wherever the program could be held up, so that anything may happen in between,
or nothing where it is run through at once. Names are few, so that two people meet.
"""

import os
import stat
from contextlib import suppress

NAMES = (b"x", b"y", b"z", b"d/x", b"d/y", b"e/x", b"d/s/x", b"e/s/y")
DIRECTORIES = (b"d", b"e", b"d/s", b"e/s", b"y")
SIZES = (3, 20, 20, 20, 200, 5_000, 70_000, 300_000)
SYNCED = 0.6
"""How often a program makes durable what it wrote; what is not, a power cut may take, unless a server relied on it."""
OTHER_WAY = 0.3
"""How often a name that is wanted is what something is renamed or copied to, not what is renamed."""
PATCH_BYTES = 20
_CREATE = os.O_WRONLY | os.O_CREAT
_MODES = (0o644, 0o600, 0o640, 0o444, 0o755)
_NS = 1_000_000_000


class Person:
    """Somebody at one machine. `simos` is the machine's `os`; `note` is told each file that was finished."""

    def __init__(self, side, directory, simos, rng, note, now_ns):
        self.side = side
        self._root = os.fsencode(directory) + b"/"
        self._os = simos
        self._rng = rng
        self._note = note
        self._now_ns = now_ns
        self._count = 0
        self.silent = set()
        """Contents that were written over others without a trace in length and time."""

    def choose(self, kinds, wanted=None):
        """Return the name of a next operation, one of `kinds`, and its generator, not begun; on `wanted`, if given."""
        kind = self._rng.choice(kinds)
        names = [self._rng.choice(NAMES) for _ in range(2)]
        if wanted is not None:
            names[self._rng.random() < OTHER_WAY] = wanted
        elif kind in ("rename_directory", "remove_tree", "make_directory", "file_for_directory"):
            names = [self._rng.choice(DIRECTORIES) for _ in range(2)]
        return f"{kind} {names[0].decode()} {names[1].decode()}", getattr(self, "_" + kind)(*names)

    def obstacles(self, name):
        """Return the operations that clear the way to a name: of files above it, and of a directory at it."""
        for above in (part for part in _above(name) if self._kind(part) not in (None, stat.S_IFDIR)):
            yield self._delete(above, above)
        if self._kind(name) == stat.S_IFDIR:
            yield self._remove_tree(name, name)

    # Saving

    def _write(self, name, _):
        """As `open('w')` does: empty first, then in pieces."""
        yield from self._written(name, os.O_TRUNC, self._fresh())

    def _append(self, name, _):
        yield from self._written(name, os.O_APPEND, self._fresh(20))

    def _patch(self, name, _):
        """Write into the middle, keeping the length where there is one."""
        fresh = self._fresh(PATCH_BYTES)
        yield from self._written(name, 0, fresh)

    def _save(self, name, _):
        """As editors do: a new file beside it, then a rename over it."""
        self._make_parents(name)
        beside = name + b".new"
        yield from self._written(beside, os.O_TRUNC | os.O_EXCL, self._fresh())
        self._os.rename(self._at(beside), self._at(name))
        self._sync_above(name)

    def _save_with_backup(self, name, _):
        """As vim does: the old one moves away, a new one is made, the old one goes."""
        backup = name + b"~"
        self._os.rename(self._at(name), self._at(backup))
        yield
        yield from self._written(name, os.O_EXCL, self._fresh())
        self._os.unlink(self._at(backup))
        self._sync_above(name)

    def _copy(self, name, other):
        """Like `cp -p`: content first, then the time of the original."""
        content, status = self._content(name), self._os.stat(self._at(name))
        yield from self._written(other, os.O_TRUNC, content)
        self._os.utime(self._at(other), ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _rewrite_silently(self, name, _):
        """Other bytes of the same length, and the old time put back.

        Not within one tick of the kernel's clock: what then looks the same in every stamp is not promised to be seen.
        """
        status = self._os.stat(self._at(name))
        if status.st_size < 16:
            return
        fresh = self._fresh(status.st_size)[: status.st_size]
        self.silent.add(fresh)
        yield from self._written(name, 0, fresh)
        if self._os.stat(self._at(name)).st_ctime_ns == status.st_ctime_ns:
            return
        self._os.utime(self._at(name), ns=(status.st_mtime_ns, status.st_mtime_ns))

    # Names

    def _delete(self, name, _):
        self._os.unlink(self._at(name))
        self._sync_above(name)
        yield

    def _rename(self, name, other):
        self._make_parents(other)
        self._os.rename(self._at(name), self._at(other))
        self._sync_above(name, other)
        yield

    def _there_and_back(self, name, _):
        """Away, and back before anybody can tell: the state is the one of before, to the nanosecond."""
        aside = name + b".aside"
        self._os.rename(self._at(name), self._at(aside))
        yield
        self._os.rename(self._at(aside), self._at(name))
        self._sync_above(name)

    def _rename_directory(self, name, other):
        self._make_parents(other)
        self._os.rename(self._at(name), self._at(other))
        self._sync_above(name, other)
        yield

    def _swap(self, name, other):
        """Three renames."""
        aside = name + b".aside"
        self._os.rename(self._at(name), self._at(aside))
        yield
        self._os.rename(self._at(other), self._at(name))
        yield
        self._os.rename(self._at(aside), self._at(other))
        self._sync_above(name, other)

    def _make_directory(self, name, _):
        self._make_parents(name)
        self._os.mkdir(self._at(name))
        self._sync_above(name)
        yield

    def _remove_tree(self, name, _):
        for path, is_directory in self._below(name):
            (self._os.rmdir if is_directory else self._os.unlink)(self._at(path))
            self._sync_above(path)
            yield

    def _file_for_directory(self, name, _):
        yield from self._remove_tree(name, name)
        yield from self._written(name, os.O_EXCL, self._fresh())

    def _link(self, name, other):
        with suppress(FileNotFoundError):
            self._os.unlink(self._at(name))
            yield
        self._make_parents(name)
        self._os.symlink(other, self._at(name))
        self._sync_above(name)

    def _hard_link(self, name, other):
        self._make_parents(other)
        self._os.link(self._at(name), self._at(other))
        self._sync_above(other)
        yield

    # Metadata

    def _chmod(self, name, _):
        self._os.chmod(self._at(name), self._rng.choice(_MODES))
        self._sync(name)
        yield

    def _touch(self, name, _):
        """Any time: now, long ago, in the future; whole seconds or not."""
        seconds = self._rng.choice((0, -10, -86_400, 5))
        at = self._now_ns() + seconds * _NS
        at -= at % self._rng.choice((1, _NS))
        self._os.utime(self._at(name), ns=(at, at))
        self._sync(name)
        yield

    # Steps

    def _written(self, name, flags, content):
        self._make_parents(name)
        fd = self._os.open(self._at(name), _CREATE | flags, 0o644)
        try:
            half = self._rng.randrange(len(content) + 1)
            for piece in (content[:half], content[half:]):
                yield
                if piece:
                    self._os.write(fd, piece)
            yield
            is_synced = self._rng.random() < SYNCED
            if is_synced:
                self._os.fsync(fd)
            self._note(self.side, name, self._os.disk.file(fd).node)
            if is_synced:
                self._sync_above(name)  # it fails where somebody moved that: the content is finished all the same
        finally:
            self._os.close(fd)

    def _content(self, name):
        fd = self._os.open(self._at(name), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return self._os.disk.file(fd).node.data
        finally:
            self._os.close(fd)

    def _sync(self, name):
        with suppress(FileNotFoundError):
            fd = self._os.open(self._at(name), os.O_RDONLY)
            self._os.fsync(fd)
            self._os.close(fd)

    def _sync_above(self, *names):
        for name in names:
            self._sync(name.rpartition(b"/")[0] or b".")

    def _make_parents(self, name):
        for above in _above(name):
            with suppress(FileExistsError):
                self._os.mkdir(self._at(above))
                self._sync_above(above)

    def _below(self, name):
        """Return (path, is directory) of a directory and all below, deepest first."""
        found = []
        for each in sorted(self._os.listdir(self._at(name))):
            path = name + b"/" + each
            is_directory = self._os.path.isdir(self._at(path)) and not self._os.path.islink(self._at(path))
            found += self._below(path) if is_directory else [(path, False)]
        return [*found, (name, True)]

    def _fresh(self, size=None):
        """Return a content that was never there before."""
        self._count += 1
        size = self._rng.choice(SIZES) if size is None else size
        head = f"{self.side}{self._count}:".encode()
        return head + self.side.encode() * max(0, size - len(head))

    def _kind(self, name):
        try:
            return stat.S_IFMT(self._os.lstat(self._at(name)).st_mode)
        except OSError:
            return None

    def _at(self, name):
        return self._root + name


def _above(name):
    parts = name.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]
