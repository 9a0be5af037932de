"""The calls that make, change, remove and list names; a part of `SimOS`."""

import errno
import os
import stat

from tests.sim.disk import is_a_person
from tests.sim.nodes import failure

NOREPLACE, EXCHANGE = 1, 2
_UMASK = 0o022


class NameCalls:
    """Calls of `os` that change a directory, with the errors of Linux."""

    def add(self, directory, name, mode, data=b""):
        """Make a new node under a name that is free. Raises OSError."""
        self._check_directory(directory)
        fs = directory.fs
        node = fs.make(mode, data)
        fs.used += len(data)
        fs.rename([(directory, name, None, node)], is_persons=is_a_person())
        self.disk.tell("create", directory, name, node)
        return node

    def mkdir(self, path, mode=0o777, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            os.mkdir(path, mode, dir_fd=dir_fd)
            return
        self.disk.enter("mkdir", *place)
        directory, name = self._free_name(place)
        self.add(directory, name, stat.S_IFDIR | mode & 0o7777 & ~_UMASK)

    def makedirs(self, path, mode=0o777, exist_ok=False):
        if self.place(path) is None:
            os.makedirs(path, mode, exist_ok)
            return
        head = self.path.dirname(path)
        if head and not self.path.exists(head):
            self.makedirs(head, exist_ok=True)
        try:
            self.mkdir(path, mode)
        except FileExistsError:
            if not exist_ok or not self.path.isdir(path):
                raise

    def symlink(self, target, path, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            os.symlink(target, path, dir_fd=dir_fd)
            return
        self.disk.enter("symlink", *place)
        raw = os.fsencode(target)
        if not raw:
            raise failure(errno.ENOENT)
        directory, name = self._free_name(place)
        self.add(directory, name, stat.S_IFLNK | 0o777, raw)

    def mkfifo(self, path, mode=0o666, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            os.mkfifo(path, mode, dir_fd=dir_fd)
            return
        self.disk.enter("mkfifo", *place)
        directory, name = self._free_name(place)
        self.add(directory, name, stat.S_IFIFO | mode & 0o7777 & ~_UMASK)

    def readlink(self, path, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            return os.readlink(path, dir_fd=dir_fd)
        self.disk.enter("readlink", *place)
        node = self.node_at(place, follows=False)
        if not node.is_link:
            raise failure(errno.EINVAL)
        return node.data if isinstance(path, bytes) else os.fsdecode(node.data)

    def link(self, source, target, *, src_dir_fd=None, dst_dir_fd=None, follow_symlinks=True):
        place, target_place = self.place(source, src_dir_fd), self.place(target, dst_dir_fd)
        if place is None or target_place is None:
            os.link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
            return
        self.disk.enter("link", *place, *target_place)
        node = self.node_at(place, follows=follow_symlinks)
        directory, name = self._free_name(target_place)
        if node.fs is not directory.fs:
            raise failure(errno.EXDEV)
        if node.children is not None:
            raise failure(errno.EPERM)
        if not node.links:
            raise failure(errno.ENOENT)
        self._check_directory(directory)
        node.fs.rename([(directory, name, None, node)], is_persons=is_a_person())
        self.disk.tell("create", directory, name, node)

    def unlink(self, path, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            os.unlink(path, dir_fd=dir_fd)
            return
        self.disk.enter("unlink", *place)
        directory, name, node = self.disk.walk(*place, follows=False)
        if node is None:
            raise failure(errno.ENOENT)
        if node.children is not None:
            raise failure(errno.EISDIR)
        self._remove(directory, name, node)

    remove = unlink

    def rmdir(self, path, *, dir_fd=None):
        place = self.place(path, dir_fd)
        if place is None:
            os.rmdir(path, dir_fd=dir_fd)
            return
        self.disk.enter("rmdir", *place)
        directory, name, node = self.disk.walk(*place, follows=False)
        if node is None:
            raise failure(errno.ENOENT)
        if directory is None:
            raise failure(errno.ENOTEMPTY if name == b".." else errno.EINVAL)
        if node.children is None:
            raise failure(errno.ENOTDIR)
        if node.mounted_on is not None:
            raise failure(errno.EBUSY)
        if node.children:
            raise failure(errno.ENOTEMPTY)
        self._remove(directory, name, node)

    def rename(self, source, target, *, src_dir_fd=None, dst_dir_fd=None):
        place, target_place = self.place(source, src_dir_fd), self.place(target, dst_dir_fd)
        if place is None and target_place is None:
            os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            return
        if place is None or target_place is None:
            raise failure(errno.EXDEV)
        self.disk.enter("rename", *place, *target_place)
        self.rename_at(place, target_place, 0)

    replace = rename

    def rename_at(self, source, target, flags):
        """Rename between two places; the rest of `rename` and of `renameat2`. Raises OSError."""
        walk = self.disk.walk
        old_directory, old_name, old = walk(*source, follows=False)
        new_directory, new_name, new = walk(*target, follows=False)
        _check_ends((old_directory, old), (new_directory, new), flags)
        if _is_inside(new_directory, old):
            raise failure(errno.EINVAL)
        if new is not None and _is_inside(old_directory, new):
            raise failure(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)
        if old is new:
            return
        self._check_directory(old_directory)
        self._check_directory(new_directory)
        if old.mounted_on is not None or (new is not None and new.mounted_on is not None):
            raise failure(errno.EBUSY)
        if flags & EXCHANGE:
            self._exchange((old_directory, old_name, old), (new_directory, new_name, new))
            return
        if new is not None:
            _check_replaceable(old, new)
        changes = [(old_directory, old_name, old, None), (new_directory, new_name, new, old)]
        old.fs.rename(changes, is_persons=is_a_person())
        self.disk.tell("moved_from", old_directory, old_name, old)
        self.disk.tell("moved_to", new_directory, new_name, old)

    def _exchange(self, one, two):
        one_directory, one_name, one_node = one
        two_directory, two_name, two_node = two
        changes = [(one_directory, one_name, one_node, two_node), (two_directory, two_name, two_node, one_node)]
        one_node.fs.rename(changes, is_persons=is_a_person())
        self.disk.tell("moved_from", one_directory, one_name, one_node)
        self.disk.tell("moved_to", two_directory, two_name, one_node)
        self.disk.tell("moved_from", two_directory, two_name, two_node)
        self.disk.tell("moved_to", one_directory, one_name, two_node)

    def _remove(self, directory, name, node):
        self._check_directory(directory)
        directory.fs.rename([(directory, name, node, None)], is_persons=is_a_person())
        self.disk.tell("delete", directory, name, node)

    def _free_name(self, place):
        directory, name, node = self.disk.walk(*place, follows=False)
        if node is not None:
            raise failure(errno.EEXIST)
        return directory, name

    @staticmethod
    def _check_directory(directory):
        if directory.fs.is_read_only:
            raise failure(errno.EROFS)
        if not directory.links:
            raise failure(errno.ENOENT)  # removed, though somebody has it open

    # Listing

    def listdir(self, path="."):
        place = self.place(path)
        if place is None:
            return os.listdir(path)
        self.disk.enter("listdir", *place)
        names = list(self._listed(place).children)
        return names if isinstance(path, bytes) else [os.fsdecode(name) for name in names]

    def scandir(self, path="."):
        place = self.place(path)
        if place is None:
            return os.scandir(path)
        self.disk.enter("listdir", *place)
        return _Listing(self, path, self._listed(place))

    def _listed(self, place):
        node = self.node_at(place, follows=True)
        if node.children is None:
            raise failure(errno.ENOTDIR)
        return node


def _is_inside(directory, node):
    """Return whether `directory` is `node` or lies below it."""
    if node.children is None:
        return False
    while True:
        if directory is node:
            return True
        if directory.parent is directory:
            return False
        directory = directory.parent


def _check_ends(source, target, flags):
    """Refuse what needs no look at the tree: other file systems, no names, something or nothing there."""
    old_directory, old = source
    new_directory, new = target
    if (old_directory or old).fs is not (new_directory or new).fs:
        raise failure(errno.EXDEV)
    if old_directory is None:
        raise failure(errno.EBUSY)
    if new_directory is None:
        raise failure(errno.EEXIST if flags & NOREPLACE else errno.EBUSY)
    if old is None:
        raise failure(errno.ENOENT)
    if flags & NOREPLACE and new is not None:
        raise failure(errno.EEXIST)
    if flags & EXCHANGE and new is None:
        raise failure(errno.ENOENT)


def _check_replaceable(old, new):
    if old.children is not None:
        if new.children is None:
            raise failure(errno.ENOTDIR)
        if new.children:
            raise failure(errno.ENOTEMPTY)
    elif new.children is not None:
        raise failure(errno.EISDIR)


class _Listing:
    """What `scandir` returns: the entries as they were when it was called."""

    def __init__(self, system, path, directory):
        is_bytes = isinstance(path, bytes)
        prefix = b"" if isinstance(path, int) else os.fsencode(path) + b"/"
        self._entries = iter(
            [_Entry(system, directory, name, node, prefix, is_bytes) for name, node in directory.children.items()]
        )

    def __iter__(self):
        return self._entries

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._entries = iter(())


class _Entry:
    """A `DirEntry`: its kind is the one listed, its stat is that of the moment it is asked for."""

    __slots__ = ("_directory", "_name", "_node", "_os", "name", "path")

    def __init__(self, system, directory, name, node, prefix, is_bytes):
        self._os = system
        self._directory = directory
        self._name = name
        self._node = node
        self.name = name if is_bytes else os.fsdecode(name)
        self.path = prefix + name if is_bytes else os.fsdecode(prefix + name)

    def is_symlink(self):
        return self._node.is_link

    def is_dir(self, *, follow_symlinks=True):
        if self._node.is_link and follow_symlinks:
            try:
                return self._os.node_at((self._directory, self._name), follows=True).children is not None
            except FileNotFoundError:
                return False
        return self._node.children is not None

    def inode(self):
        return self._node.inode

    def stat(self, *, follow_symlinks=True):
        self._os.disk.enter("stat", self._directory, self._name)
        return self._os.node_at((self._directory, self._name), follows=follow_symlinks).status()
