"""`SimOS`, in place of the module `os`: what is done with descriptors and with what stands at a path.

Calls and errors are those of Linux for a privileged user. What is not simulated is the real module's, and so is
every path outside of `/sim`. Names are changed in `names`.
"""

import errno
import os
import posixpath
import stat

from tests.sim.disk import FIRST_DESCRIPTOR, TOP, is_a_person
from tests.sim.names import NameCalls
from tests.sim.nodes import failure

_BY_DESCRIPTOR = b"/proc/self/fd/"
_UMASK = 0o022
_XATTR_BYTES_MAX = 65536


class SimOS(NameCalls):
    """The module `os` as seen by simulated processes. `rng` gives what `urandom` returns."""

    def __init__(self, disk, rng):
        self.disk = disk
        self._rng = rng
        self.path = _SimPaths(self)
        self.supports_follow_symlinks = {self.utime, self.stat, self.link}

    def __getattr__(self, name):
        return getattr(os, name)

    def place(self, path, dir_fd=None):
        """Return (node to walk from, path bytes) of a simulated place; None where it is a real one.

        A path of no bytes means the node itself: a descriptor, or what `/proc/self/fd` says of one.
        """
        if isinstance(path, int):
            return (self.disk.file(path).node, b"") if path >= FIRST_DESCRIPTOR else None
        raw = path if isinstance(path, bytes) else os.fsencode(path)
        if raw[:1] == b"/":
            if raw.startswith(TOP):
                return self.disk.root, raw
            if raw.startswith(_BY_DESCRIPTOR) and int(raw[len(_BY_DESCRIPTOR) :]) >= FIRST_DESCRIPTOR:
                return self.disk.file(int(raw[len(_BY_DESCRIPTOR) :])).node, b""
            return None
        if dir_fd is None or dir_fd < FIRST_DESCRIPTOR:
            return None
        if not raw:
            raise failure(errno.ENOENT)
        return self.disk.file(dir_fd).node, raw

    def node_at(self, place, *, follows):
        """Return the node at a place. Raises OSError."""
        at, path = place
        if not path:
            return at
        node = self.disk.walk(at, path, follows=follows)[2]
        if node is None:
            raise failure(errno.ENOENT)
        return node

    def urandom(self, size):
        return self._rng.randbytes(size)

    def geteuid(self):
        return 0

    def getegid(self):
        return 0

    # Opening

    def open(self, path, flags, mode=0o777, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        self.disk.enter("open", *place, flags)
        return self.open_at(*place, flags, mode)

    def open_at(self, at, path, flags, mode=0o777, *, is_beneath=False):
        """Open; the rest of `open`, and of `openat2`, which asks for `is_beneath`."""
        disk = self.disk
        is_new_only = flags & os.O_CREAT and flags & os.O_EXCL
        follows = not (flags & os.O_NOFOLLOW or is_new_only)
        directory, name, node = disk.walk(at, path, follows=follows, is_beneath=is_beneath)
        if node is None:
            if not flags & os.O_CREAT:
                raise failure(errno.ENOENT)
            if path.endswith(b"/"):
                raise failure(errno.EISDIR)
            node = self.add(directory, name, stat.S_IFREG | mode & 0o7777 & ~_UMASK)
        else:
            if is_new_only:
                raise failure(errno.EEXIST)
            self._check_opening(node, flags, is_beneath=is_beneath)
            if flags & os.O_TRUNC and node.is_file:
                self._change_data(node, b"")
                disk.tell("modify", directory, name, node)
        return disk.allot(node, directory, name, flags)

    @staticmethod
    def _check_opening(node, flags, *, is_beneath):
        if flags & os.O_DIRECTORY and node.children is None:
            raise failure(errno.ENOTDIR)
        if node.is_link and (is_beneath or not flags & os.O_PATH):
            raise failure(errno.ELOOP)
        if flags & os.O_PATH:
            return
        if node.children is not None and flags & (os.O_CREAT | os.O_ACCMODE):
            raise failure(errno.EISDIR)
        writes = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        if writes and node.fs.is_read_only:
            raise failure(errno.EROFS)
        if stat.S_ISSOCK(node.mode) or (stat.S_ISFIFO(node.mode) and flags & os.O_ACCMODE == os.O_WRONLY):
            raise failure(errno.ENXIO)
        if writes and node.lease is not None:
            raise failure(errno.EAGAIN)  # as with O_NONBLOCK: nobody can wait here

    def close(self, number):
        if number < FIRST_DESCRIPTOR:
            os.close(number)
            return
        if number in self.disk.closed_by_kill:
            return  # what is left of a dead process is collected at any time, in anybody's context
        self.disk.enter("close", number)
        file = self.disk.release(number)
        if file.can_write:
            self.disk.tell("close_write", file.directory, file.name, file.node)

    # Content

    def pread(self, number, size, offset):
        if number < FIRST_DESCRIPTOR:
            return os.pread(number, size, offset)
        limit = self.disk.enter("pread", number)
        return self._readable(number).data[offset : offset + (size if limit is None else min(size, limit))]

    def preadv(self, number, buffers, offset):
        if number < FIRST_DESCRIPTOR:
            return os.preadv(number, buffers, offset)
        (buffer,) = buffers
        content = self.pread(number, len(buffer), offset)
        buffer[: len(content)] = content
        return len(content)

    def read(self, number, size):
        if number < FIRST_DESCRIPTOR:
            return os.read(number, size)
        limit = self.disk.enter("read", number)
        node = self._readable(number)
        file = self.disk.file(number)
        content = node.data[file.offset : file.offset + (size if limit is None else min(size, limit))]
        file.offset += len(content)
        return content

    def pwrite(self, number, content, offset):
        if number < FIRST_DESCRIPTOR:
            return os.pwrite(number, content, offset)
        limit = self.disk.enter("pwrite", number)
        return self._write(self.disk.file(number), bytes(content[:limit]), offset)

    def write(self, number, content):
        if number < FIRST_DESCRIPTOR:
            return os.write(number, content)
        limit = self.disk.enter("write", number)
        file = self.disk.file(number)
        if file.is_appending:
            file.offset = len(file.node.data)
        written = self._write(file, bytes(content[:limit]), file.offset)
        file.offset += written
        return written

    def lseek(self, number, offset, whence):
        if number < FIRST_DESCRIPTOR:
            return os.lseek(number, offset, whence)
        file = self.disk.file(number)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: file.offset, os.SEEK_END: len(file.node.data)}[whence]
        file.offset = start + offset
        return file.offset

    def ftruncate(self, number, size):
        if number < FIRST_DESCRIPTOR:
            os.ftruncate(number, size)
            return
        self.disk.enter("ftruncate", number)
        file = self.disk.file(number)
        if not file.can_write:
            raise failure(errno.EBADF if file.is_path_only else errno.EINVAL)
        before = file.node.data
        self._change_data(file.node, before[:size] + bytes(max(0, size - len(before))))
        self.disk.tell("modify", file.directory, file.name, file.node)

    def _readable(self, number):
        file = self.disk.file(number)
        if not file.can_read:
            raise failure(errno.EBADF)
        if file.node.children is not None:
            raise failure(errno.EISDIR)
        return file.node

    def _write(self, file, content, offset):
        if not file.can_write:
            raise failure(errno.EBADF)
        if not content:
            return 0
        node = file.node
        fs, before = node.fs, node.data
        room = None if fs.room is None else fs.room - fs.used + max(0, len(before) - offset)
        if room is not None and room < len(content):
            content = content[: max(0, room)]
            if not content:
                raise failure(errno.ENOSPC)
        head = before[:offset] + bytes(max(0, offset - len(before)))
        self._change_data(node, head + content + before[offset + len(content) :])
        self.disk.tell("modify", file.directory, file.name, node)
        return len(content)

    @staticmethod
    def _change_data(node, data):
        if node.fs.is_read_only:
            raise failure(errno.EROFS)
        node.fs.change(node)
        node.fs.set_data(node, data)
        node.is_persons = is_a_person()

    # Durability

    def fsync(self, number):
        if number < FIRST_DESCRIPTOR:
            os.fsync(number)
            return
        node = self.disk.file(number).node
        try:
            self.disk.enter("fsync", number)
        except OSError:
            node.is_unwritable = node.children is None
            raise
        if self.disk.file(number).is_path_only:
            raise failure(errno.EBADF)
        node.fs.sync_node(node)

    fdatasync = fsync

    # Metadata

    def stat(self, path, *, dir_fd=None, follow_symlinks=True):
        place = self.place(path, dir_fd)
        if place is None:
            return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        self.disk.enter("stat", *place)
        return self.node_at(place, follows=follow_symlinks).status()

    def lstat(self, path, *, dir_fd=None):
        return self.stat(path, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, number):
        if number < FIRST_DESCRIPTOR:
            return os.fstat(number)
        self.disk.enter("fstat", number)
        return self.disk.file(number).node.status()

    def chmod(self, path, mode, *, dir_fd=None, follow_symlinks=True):
        place = self.place(path, dir_fd)
        if place is None:
            os.chmod(path, mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            return
        self.disk.enter("chmod", *place, mode)
        self._set_mode(self.node_at(place, follows=True), mode)

    def fchmod(self, number, mode):
        if number < FIRST_DESCRIPTOR:
            os.fchmod(number, mode)
            return
        self.disk.enter("fchmod", number, mode)
        self._set_mode(self._handled(number), mode)

    def fchown(self, number, uid, gid):
        if number < FIRST_DESCRIPTOR:
            os.fchown(number, uid, gid)
            return
        self.disk.enter("fchown", number, uid, gid)
        self._set_owner(self._handled(number), uid, gid)

    def chown(self, path, uid, gid, *, dir_fd=None, follow_symlinks=True):
        place = self.place(path, dir_fd)
        if place is None:
            os.chown(path, uid, gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            return
        self.disk.enter("chown", *place, uid, gid)
        self._set_owner(self.node_at(place, follows=follow_symlinks), uid, gid)

    def utime(self, path, times=None, *, ns=None, dir_fd=None, follow_symlinks=True):
        place = self.place(path, dir_fd)
        if place is None:
            os.utime(path, times, **({} if ns is None else {"ns": ns}), dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            return
        if ns is None:
            ns = tuple(int(each * 1e9) for each in times)
        self.disk.enter("utime", *place, ns)
        node = self.node_at(place, follows=follow_symlinks)
        self._about_to_change(node)
        node.mtime_ns = ns[1] - ns[1] % node.fs.stored_ns
        self._changed(node)

    def getxattr(self, path, attribute):
        place = self.place(path)
        if place is None:
            return os.getxattr(path, attribute)
        self.disk.enter("getxattr", *place)
        try:
            return self.node_at(place, follows=True).xattrs[os.fsencode(attribute)]
        except KeyError:
            raise failure(errno.ENODATA) from None

    def setxattr(self, path, attribute, value):
        place = self.place(path)
        if place is None:
            os.setxattr(path, attribute, value)
            return
        self.disk.enter("setxattr", *place)
        node = self.node_at(place, follows=True)
        if len(value) > _XATTR_BYTES_MAX:
            raise failure(errno.E2BIG)
        self._about_to_change(node)
        node.xattrs = {**node.xattrs, os.fsencode(attribute): bytes(value)}
        self._changed(node)

    def _handled(self, number):
        file = self.disk.file(number)
        if file.is_path_only:
            raise failure(errno.EBADF)
        return file.node

    def _set_owner(self, node, uid, gid):
        self._about_to_change(node)
        node.uid = node.uid if uid < 0 else uid
        node.gid = node.gid if gid < 0 else gid
        self._changed(node)

    def _set_mode(self, node, mode):
        if node.is_link:
            raise failure(errno.EOPNOTSUPP)
        self._about_to_change(node)
        node.mode = stat.S_IFMT(node.mode) | mode & 0o7777
        self._changed(node)

    @staticmethod
    def _about_to_change(node):
        if node.fs.is_read_only:
            raise failure(errno.EROFS)
        node.fs.change(node)

    def _changed(self, node):
        node.ctime_ns = node.fs.stamp()
        self.disk.tell("attrib", node.parent, node.name, node)


class _SimPaths:
    """The module `os.path` over a simulated disk."""

    def __init__(self, system):
        self._os = system

    def __getattr__(self, name):
        return getattr(posixpath, name)

    def isdir(self, path):
        return self._is(path, stat.S_ISDIR, follows=True)

    def islink(self, path):
        return self._is(path, stat.S_ISLNK, follows=False)

    def exists(self, path):
        return self._is(path, lambda mode: True, follows=True)

    def _is(self, path, check, *, follows):
        try:
            return check(self._os.stat(path, follow_symlinks=follows).st_mode)
        except OSError:
            return False

    def realpath(self, path):
        """Return the path with all links of the simulated disk resolved; what is missing stays as it is."""
        raw = os.fsencode(path)
        if not raw.startswith(TOP):
            return os.path.realpath(path)
        found = self._os.disk.real_path(raw)
        return found if isinstance(path, bytes) else os.fsdecode(found)
