"""The simulated disk against the real one: the same calls, the same answers, the same tree at the end."""

import errno
import fcntl
import os
import random
import shutil
import stat
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirsync.disk import syscalls
from tests.sim.calls import SimOS
from tests.sim.disk import SimDisk
from tests.sim.modules import SimFcntl, SimLibc

pytestmark = pytest.mark.skipif(not syscalls._has_openat2(), reason="needs Linux with openat2")

OPEN_FLAGS = (
    os.O_RDONLY,
    os.O_RDWR,
    os.O_WRONLY | os.O_APPEND,
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
    os.O_RDONLY | os.O_DIRECTORY,
    os.O_PATH | os.O_DIRECTORY,
    os.O_PATH | os.O_NOFOLLOW,
    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
    os.O_WRONLY | os.O_CREAT,
    os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW,
)
NS = 1_600_000_000_123_456_789


class Side:
    """One of the two: a module `os`, libc and `fcntl`, and a directory to work in. Answers are plain values."""

    def __init__(self, system, libc, locks, top):
        self.os = system
        self.fcntl = locks
        self.top = top
        self.files = []
        self._libc = libc
        self._top_fd = system.open(top, os.O_RDONLY | os.O_DIRECTORY)

    def close(self):
        for number in (*self.files, self._top_fd):
            if number is not None:
                self.os.close(number)

    def answer(self, name, *arguments):
        """Do a call; return what it gives, or the errno it fails with."""
        try:
            return getattr(self, name)(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno]

    def at(self, path):
        return self.top + b"/" + path

    def _number(self, index):
        if index >= len(self.files) or self.files[index] is None:
            raise OSError(errno.EBADF, "")
        return self.files[index]

    @staticmethod
    def _shown(status):
        if stat.S_ISDIR(status.st_mode):
            return ("directory", stat.S_IMODE(status.st_mode), status.st_nlink > 0)
        time_is_set = status.st_mtime_ns == NS
        if stat.S_ISLNK(status.st_mode):
            return ("link", status.st_nlink, status.st_size, time_is_set)
        return (status.st_mode, status.st_nlink, status.st_size, time_is_set)

    # Calls

    def open(self, path, flags):
        self.files.append(self.os.open(self.at(path), flags, 0o644))

    def openat2(self, path, flags):
        self.files.append(self._raised(syscalls._openat2, self._top_fd, path, flags))

    def opened_below(self, index, path, flags):
        self.files.append(self.os.open(path, flags, 0o600, dir_fd=self._number(index)))

    def close_one(self, index):
        number = self._number(index)
        self.files[index] = None
        self.os.close(number)

    def pwrite(self, index, content, offset):
        return self.os.pwrite(self._number(index), content, offset)

    def write(self, index, content):
        return self.os.write(self._number(index), content)

    def pread(self, index, size, offset):
        return self.os.pread(self._number(index), size, offset)

    def preadv(self, index, size, offset):
        buffer = bytearray(size)
        return self.os.preadv(self._number(index), [memoryview(buffer)], offset), bytes(buffer)

    def ftruncate(self, index, size):
        self.os.ftruncate(self._number(index), size)

    def fstat(self, index):
        return self._shown(self.os.fstat(self._number(index)))

    def fsync(self, index):
        self.os.fsync(self._number(index))

    def fchmod(self, index, mode):
        self.os.fchmod(self._number(index), mode)

    def lease(self, index):
        """Whether nobody has the file open for writing, as the product asks it."""
        number = self._number(index)
        self.fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        self.fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def by_handle(self, index, mode):
        number = self._number(index)
        self.os.chmod(f"/proc/self/fd/{number}", mode)
        self.os.utime(f"/proc/self/fd/{number}", ns=(NS, NS))

    def mkdir(self, path, mode):
        self.os.mkdir(self.at(path), mode)

    def rmdir(self, path):
        self.os.rmdir(self.at(path))

    def unlink(self, path):
        self.os.unlink(self.at(path))

    def symlink(self, target, path):
        self.os.symlink(target, self.at(path))

    def link(self, path, to, follows):
        self.os.link(path, to, src_dir_fd=self._top_fd, dst_dir_fd=self._top_fd, follow_symlinks=follows)

    def rename(self, path, to):
        self.os.rename(path, to, src_dir_fd=self._top_fd, dst_dir_fd=self._top_fd)

    def rename_noreplace(self, path, to):
        self._raised(syscalls.rename_noreplace, self._top_fd, path, self._top_fd, to)

    def rename_exchange(self, path, to):
        self._raised(syscalls.rename_exchange, self._top_fd, path, self._top_fd, to)

    def readlink(self, path):
        return self.os.readlink(self.at(path))

    def stat(self, path, follows):
        return self._shown(self.os.stat(self.at(path), follow_symlinks=follows))

    def chmod(self, path, mode):
        self.os.chmod(self.at(path), mode)

    def utime(self, path, follows):
        self.os.utime(self.at(path), ns=(NS, NS), follow_symlinks=follows)

    def listdir(self, path):
        return sorted(self.os.listdir(self.at(path)))

    def scandir(self, path):
        with self.os.scandir(self.at(path)) as entries:
            return sorted((each.name, each.is_dir(follow_symlinks=False), each.is_symlink()) for each in entries)

    def xattr(self, path, value):
        self.os.setxattr(self.at(path), b"user.x", value)
        return self.os.getxattr(self.at(path), b"user.x")

    def missing_xattr(self, path):
        return self.os.getxattr(self.at(path), b"user.none")

    def kinds(self, path):
        of = self.os.path
        return of.isdir(self.at(path)), of.islink(self.at(path)), of.exists(self.at(path))

    def realpath(self, path):
        above = self.os.path.realpath(os.path.dirname(self.top))
        return self.os.path.realpath(self.at(path)).removeprefix(above)

    def _raised(self, function, *arguments):
        original = syscalls._libc
        syscalls._libc = self._libc
        try:
            return function(*arguments)
        finally:
            syscalls._libc = original

    def tree(self, path=b""):
        """Return everything below, with content, and the inodes as the first name each was met under."""
        found, inodes = {}, {}
        pending = [path]
        while pending:
            above = pending.pop()
            for name in sorted(self.os.listdir(self.at(above)), reverse=True):
                below = above + b"/" + name if above else name
                status = self.os.lstat(self.at(below))
                first = inodes.setdefault(status.st_ino, below)
                content = b""
                if stat.S_ISREG(status.st_mode):
                    number = self.os.open(self.at(below), os.O_RDONLY)
                    content = self.os.pread(number, 1 << 20, 0)
                    self.os.close(number)
                elif stat.S_ISDIR(status.st_mode):
                    pending.append(below)
                found[below] = (self._shown(status), first, content)
        return found


names = st.sampled_from([b"a", b"b", b"d", b"e"])
paths = st.one_of(
    names,
    st.tuples(names, names).map(b"/".join),
    st.sampled_from([b"d/../a", b"d/.", b"..", b".", b"d/e/a", b"d/../../x", b"n" * 256, b"d//a"]),
)
plain_paths = st.one_of(names, st.tuples(names, names).map(b"/".join), st.sampled_from([b"d/e/a", b".", b"d/.."]))
indexes = st.integers(0, 3)
contents = st.binary(max_size=6)
modes = st.sampled_from([0o600, 0o644, 0o700, 0o755])
sizes = st.integers(0, 10)
operations = st.one_of(
    st.tuples(st.just("open"), paths, st.sampled_from(OPEN_FLAGS)),
    st.tuples(st.just("openat2"), paths, st.sampled_from([os.O_RDONLY, os.O_PATH | os.O_DIRECTORY])),
    st.tuples(st.just("opened_below"), indexes, paths, st.sampled_from(OPEN_FLAGS)),
    st.tuples(st.just("close_one"), indexes),
    st.tuples(st.just("pwrite"), indexes, contents, sizes),
    st.tuples(st.just("write"), indexes, contents),
    st.tuples(st.sampled_from(["pread", "preadv"]), indexes, sizes, sizes),
    st.tuples(st.just("ftruncate"), indexes, sizes),
    st.tuples(st.sampled_from(["fstat", "fsync", "lease"]), indexes),
    st.tuples(st.sampled_from(["fchmod", "by_handle"]), indexes, st.sampled_from([0o700, 0o755])),
    st.tuples(st.just("mkdir"), paths, st.sampled_from([0o700, 0o755])),
    st.tuples(st.just("symlink"), st.sampled_from([b"a", b"d", b"../a", b"none", b"e/", b"."]), names),
    st.tuples(st.just("link"), plain_paths, plain_paths, st.booleans()),
    st.tuples(st.sampled_from(["rename", "rename_noreplace", "rename_exchange"]), plain_paths, plain_paths),
    st.tuples(st.sampled_from(["rmdir", "unlink", "readlink", "listdir", "scandir", "missing_xattr", "kinds"]), paths),
    st.tuples(st.sampled_from(["stat", "utime"]), paths, st.booleans()),
    st.tuples(st.just("chmod"), paths, st.sampled_from([0o700, 0o755])),
    st.tuples(st.just("xattr"), plain_paths, contents),
    st.tuples(st.just("realpath"), names),
)


class Pair:
    """Both sides of one comparison; the real one works in a fresh directory."""

    def __init__(self, tmp_path, clock=lambda: 1_790_000_000_000_000_000):
        tmp_path.mkdir(exist_ok=True)
        self._above = tmp_path
        disk = SimDisk(clock)
        disk.machine("a")
        system = SimOS(disk, random.Random(1))
        tops = os.fsencode(tmp_path) + b"/above/tree", b"/sim/a/above/tree"
        for which, top in zip((os, system), tops, strict=True):
            which.mkdir(os.path.dirname(top), 0o755)
            which.mkdir(top, 0o755)
        locks = SimFcntl(disk)
        self.sides = (
            Side(os, syscalls._libc, fcntl, tops[0]),
            Side(system, lambda: SimLibc(system, locks), locks, tops[1]),
        )
        self.disk = disk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for side in self.sides:
            side.close()
        shutil.rmtree(self._above)

    def do(self, *operation):
        """Do it on both sides; return both answers."""
        return [side.answer(*operation) for side in self.sides]


@settings(max_examples=120, deadline=None)
@given(script=st.lists(operations, min_size=1, max_size=30))
def test_every_answer_and_the_tree_are_those_of_the_real_one(tmp_path_factory, script):
    before = os.umask(0o022)
    try:
        with Pair(tmp_path_factory.mktemp("conformance")) as pair:
            for operation in script:
                real, simulated = pair.do(*operation)
                assert real == simulated, operation
            real, simulated = pair.do("tree")
            assert real == simulated
    finally:
        os.umask(before)


GRAIN_SECONDS = 0.02
"""Longer than the grain of any kernel's stamps."""
CHANGES = [
    ("open", b"f", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ("open", b"f", os.O_RDONLY),
    ("open", b"new", os.O_WRONLY | os.O_CREAT),
    ("pwrite", 0, b"x", 0),
    ("pwrite", 0, b"", 0),
    ("ftruncate", 0, 3),
    ("pread", 0, 3, 0),
    ("chmod", b"f", 0o600),
    ("chmod", b"d", 0o700),
    ("utime", b"f", True),
    ("utime", b"l", False),
    ("xattr", b"f", b"1"),
    ("link", b"f", b"d/h", False),
    ("unlink", b"g"),
    ("unlink", b"l"),
    ("rename", b"f", b"d/h"),
    ("rename", b"f", b"d/x"),
    ("rename", b"f", b"g"),
    ("rename", b"d", b"moved"),
    ("rename_exchange", b"f", b"d/x"),
    ("mkdir", b"d/new", 0o755),
    ("rmdir", b"e"),
    ("symlink", b"f", b"d/new"),
]


def _times(side):
    """Return {inode as its first name: (mtime, ctime)} of everything in the tree of `_changed_times`."""
    places = [b".", b"f", b"g", b"l", b"d", b"d/x", b"d/h", b"e", b"moved", b"moved/x", b"new"]
    found = {}
    for place in places:
        try:
            status = side.os.lstat(side.at(place))
        except FileNotFoundError:
            continue
        found[place] = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return found


def _changed_times(side, change, wait):
    """Return for each name whether its inode is another one and which of its times a change changes."""
    side.mkdir(b"d", 0o755)
    side.mkdir(b"e", 0o755)
    for name in (b"f", b"d/x"):
        side.open(name, os.O_RDWR | os.O_CREAT)
        side.write(len(side.files) - 1, b"old")
    side.os.utime(side.at(b"f"), ns=(NS, NS + 1))  # not the same as that of d/x, whatever the grain
    side.link(b"f", b"g", follows=False)
    side.symlink(b"f", b"l")
    before = _times(side)
    wait()
    side.answer(*change)
    after = _times(side)
    return {name: None if name not in before else tuple(map(int.__ne__, before[name], after[name])) for name in after}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(map(str, change)))
def test_the_same_times_change(tmp_path, change):
    with Pair(tmp_path / "times") as pair:
        real, simulated = pair.sides
        expected = _changed_times(real, change, lambda: time.sleep(GRAIN_SECONDS))
        assert _changed_times(simulated, change, lambda: None) == expected
