"""What stands in for the other modules that touch the disk: `fcntl`, libc, `time`, `secrets` and `pathlib`."""

import ctypes
import errno
import fcntl
import io
import os
import pathlib
import secrets
import time

from tests.sim.disk import FIRST_DESCRIPTOR, running
from tests.sim.nodes import failure

_OPENAT2 = 437
_BENEATH, _NO_SYMLINKS = 0x08, 0x04


class SimFcntl:
    """The module `fcntl`: read leases, locks of whole files, and no reflinks unless `can_clone`."""

    def __init__(self, disk):
        self._disk = disk
        self.has_leases = True
        self.can_clone = False

    def __getattr__(self, name):
        return getattr(fcntl, name)

    def fcntl(self, number, command, argument=0):
        if number < FIRST_DESCRIPTOR:
            return fcntl.fcntl(number, command, argument)
        if command == fcntl.F_SETLEASE:
            self._disk.enter("lease", number, argument)
            self._set_lease(self._disk.file(number), argument)
        elif command == fcntl.F_GETLEASE:
            file = self._disk.file(number)
            return fcntl.F_RDLCK if file.node.lease is file else fcntl.F_UNLCK
        elif command != fcntl.F_SETSIG:
            raise failure(errno.EINVAL)
        return 0

    def _set_lease(self, file, kind):
        node = file.node
        if not self.has_leases or not node.is_file:
            raise failure(errno.EINVAL)
        if file.is_path_only:
            raise failure(errno.EBADF)
        if kind == fcntl.F_UNLCK:
            if node.lease is not file:
                raise failure(errno.EAGAIN)
            node.lease = None
            return
        if kind != fcntl.F_RDLCK or file.can_write or node.writers:
            raise failure(errno.EAGAIN)
        node.lease = file

    def flock(self, number, operation):
        if number < FIRST_DESCRIPTOR:
            fcntl.flock(number, operation)
            return
        self._disk.enter("flock", number)
        file = self._disk.file(number)
        if operation & fcntl.LOCK_UN:
            if file.node.locker is file:
                file.node.locker = None
        elif file.node.locker not in (None, file):
            raise failure(errno.EAGAIN)
        else:
            file.node.locker = file

    def ioctl(self, number, request, argument):
        """FICLONE only."""
        if number < FIRST_DESCRIPTOR:
            return fcntl.ioctl(number, request, argument)
        self._disk.enter("clone", number)
        target, source = self._disk.file(number), self._disk.file(argument)
        if not self.can_clone:
            raise failure(errno.EOPNOTSUPP)
        if target.node.fs is not source.node.fs:
            raise failure(errno.EXDEV)
        target.node.fs.change(target.node)
        target.node.fs.set_data(target.node, source.node.data)
        return 0


class SimLibc:
    """What `dirsync.disk.syscalls` calls through ctypes. Without `has_renameat2` that fails with EINVAL."""

    def __init__(self, system, leases):
        self._os = system
        self._disk = system.disk
        self._leases = leases
        self.has_renameat2 = True

    def fcntl(self, number, command, argument):
        """What `SimFcntl` does, told as libc tells it."""
        return self._call(self._leases.fcntl, number, command, argument)

    def renameat2(self, source, source_name, target, target_name, flags):
        """Return 0, or -1 with the errno set, as libc does."""
        return self._call(self._renameat2, source, source_name, target, target_name, flags.value)

    def syncfs(self, number):
        return self._call(self._syncfs, number)

    def syscall(self, number, directory, path, how, _size):
        """openat2 only."""
        assert number == _OPENAT2
        return self._call(self._openat2, directory, path, how)

    def _renameat2(self, source, source_name, target, target_name, flags):
        if not self.has_renameat2:
            raise failure(errno.EINVAL)
        places = self._os.place(source_name, source), self._os.place(target_name, target)
        self._disk.enter("renameat2", *places[0], *places[1], flags)
        self._os.rename_at(*places, flags)
        return 0

    def _syncfs(self, number):
        self._disk.enter("syncfs", number)
        self._disk.file(number).node.fs.sync()
        return 0

    def _openat2(self, directory, path, how):
        assert how.resolve & (_BENEATH | _NO_SYMLINKS) == _BENEATH | _NO_SYMLINKS
        at = self._disk.file(directory).node
        self._disk.enter("openat2", at, path, how.flags)
        return self._os.open_at(at, path, how.flags, is_beneath=True)

    @staticmethod
    def _call(function, *arguments):
        try:
            return function(*arguments)
        except OSError as error:
            ctypes.set_errno(error.errno)
            return -1


class SimTime:
    """The module `time`: the wall clock of the machine that the running process is on."""

    def __init__(self, disk):
        self._disk = disk

    def __getattr__(self, name):
        return getattr(time, name)

    def time_ns(self):
        process = running.get()
        return self._disk.clock() if process is None else process.machine.now()

    def time(self):
        return self.time_ns() / 1e9

    def monotonic(self):
        return self._disk.clock() / 1e9

    perf_counter = monotonic


class SimSecrets:
    """The module `secrets`, from a seed."""

    def __init__(self, rng):
        self._rng = rng

    def __getattr__(self, name):
        return getattr(secrets, name)

    def token_bytes(self, size=32):
        return self._rng.randbytes(size)

    def token_hex(self, size=32):
        return self._rng.randbytes(size).hex()


class SimPath(type(pathlib.Path())):
    """A `Path` on a simulated disk. `system` is set while a simulation runs."""

    __slots__ = ()
    system = None

    def stat(self, *, follow_symlinks=True):
        return self.system.stat(self, follow_symlinks=follow_symlinks)

    def exists(self, *, follow_symlinks=True):
        try:
            self.stat(follow_symlinks=follow_symlinks)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_dir(self):
        return self.system.path.isdir(self)

    def mkdir(self, mode=0o777, parents=False, exist_ok=False):
        if parents and not self.parent.exists():
            self.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.system.mkdir(self, mode)
        except FileExistsError:
            if not exist_ok or not self.is_dir():
                raise

    def chmod(self, mode, *, follow_symlinks=True):
        self.system.chmod(self, mode, follow_symlinks=follow_symlinks)

    def unlink(self, missing_ok=False):
        try:
            self.system.unlink(self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def symlink_to(self, target, target_is_directory=False):
        self.system.symlink(target, self)

    def hardlink_to(self, target):
        self.system.link(target, self)

    def readlink(self):
        return type(self)(self.system.readlink(self))

    def rename(self, target):
        self.system.rename(self, target)
        return self.with_segments(target) if hasattr(self, "with_segments") else type(self)(target)

    def replace(self, target):
        return self.rename(target)

    def rmdir(self):
        self.system.rmdir(self)

    def iterdir(self):
        for name in self.system.listdir(self):
            yield self / name

    def open(self, mode="r", buffering=-1, encoding=None, errors=None, newline=None):
        raw = _SimFile(self.system, self, mode)
        if buffering == 0:
            return raw
        buffered = _BUFFERS[raw.access](raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def read_bytes(self):
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding=None, errors=None):
        with self.open("r", encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, content):
        with self.open("wb") as file:
            return file.write(content)

    def write_text(self, text, encoding=None, errors=None, newline=None):
        with self.open("w", encoding=encoding, errors=errors, newline=newline) as file:
            return file.write(text)


_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}
_BUFFERS = {os.O_RDONLY: io.BufferedReader, os.O_RDWR: io.BufferedRandom, os.O_WRONLY: io.BufferedWriter}


class _SimFile(io.RawIOBase):
    """What `open` returns for a simulated path, unbuffered."""

    def __init__(self, system, path, mode):
        flags = _MODES[mode.replace("b", "").replace("t", "")]
        self._os = system
        self.access = flags & os.O_ACCMODE
        self._number = system.open(path, flags, 0o666)

    def readable(self):
        return self.access != os.O_WRONLY

    def writable(self):
        return self.access != os.O_RDONLY

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        return self._os.lseek(self._number, offset, whence)

    def fileno(self):
        return self._number

    def readinto(self, buffer):
        content = self._os.read(self._number, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def write(self, content):
        return self._os.write(self._number, bytes(content))

    def close(self):
        if self.closed:
            return
        super().close()
        if not self._is_dead():
            self._os.close(self._number)

    def _is_dead(self):
        """Return whether a kill has closed it: whoever was killed tidies nothing up, also not when it is collected."""
        return self._number not in self._os.disk.descriptors
