"""A user at a machine: what programs do to files, through the same system calls, but not through dirsync.

A person is never killed and sees what is there. Paths are bytes below the person's directory.
"""

import os
import stat

from tests.sim.calls import SimOS


class Person:
    """Somebody who works in `directory` of a simulated disk. Raises OSError as the calls do.

    What takes several steps is a generator: between its steps anything may happen.
    """

    def __init__(self, disk, directory, rng):
        self._os = SimOS(disk, rng)
        self._disk = disk
        self.directory = directory

    def _at(self, path):
        return self.directory + b"/" + path if path else self.directory

    def _close(self, number):
        if number in self._disk.descriptors:  # a power cut has closed it
            self._os.close(number)

    # Looking

    def read(self, path):
        """Return the content; None where no file is."""
        try:
            node = self._disk.walk(self._disk.root, self._at(path), follows=False)[2]
        except OSError:
            return None
        return node.data if node is not None and node.is_file else None

    def stat(self, path):
        """Return the stat of what stands there, links not followed."""
        return self._os.lstat(self._at(path))

    def tree(self):
        """Return everything below the directory: {path: (kind, bits, mtime, content or target)}.

        Of directories and links only what is synchronised: no times, and of links no bits.
        """
        found = {}
        pending = [(b"", self._disk.find(self.directory))]
        while pending:
            above, directory = pending.pop()
            for name, node in directory.children.items():
                path = above + name
                bits = stat.S_IMODE(node.mode)
                if node.children is not None:
                    found[path] = ("directory", bits, None, None)
                    pending.append((path + b"/", node))
                elif node.is_link:
                    found[path] = ("link", None, None, node.data)
                elif node.is_file:
                    found[path] = ("file", bits, node.mtime_ns, node.data)
                else:
                    found[path] = ("other", None, None, None)
        return found

    # Writing

    def write(self, path, content):
        """Truncate and write at once, without a look at what others do meanwhile."""
        for _ in self.write_in_steps(path, [content]):
            pass

    def write_in_steps(self, path, parts, *, is_truncated=True, is_synced=False):
        """Open, empty and write piece by piece; `is_truncated` false: overwrites from the start, in place."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if is_truncated else 0)
        number = self._os.open(self._at(path), flags, 0o644)
        try:
            yield
            for part in parts:
                self._os.write(number, part)
                yield
            if is_synced:
                self._os.fsync(number)
        finally:
            self._close(number)

    def append(self, path, content):
        """Write at the end."""
        number = self._os.open(self._at(path), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            self._os.pwrite(number, content, self._os.fstat(number).st_size)
        finally:
            self._close(number)

    def save_by_rename(self, path, content, temporary, *, is_synced=True):
        """Write a temporary file and rename it over the path, in steps."""
        yield from self.write_in_steps(temporary, [content], is_synced=is_synced)
        self.rename(temporary, path)

    def save_by_backup(self, path, content, backup):
        """Rename the file away, write a new one, remove the old one, in steps: as vim and emacs do."""
        try:
            self.rename(path, backup)
        except FileNotFoundError:
            pass
        yield
        yield from self.write_in_steps(path, [content], is_synced=True)
        try:
            self.delete(backup)
        except FileNotFoundError:
            pass

    def rewrite_unseen(self, path, content):
        """Write the same number of bytes and set the time back to what it was."""
        status = self.stat(path)
        assert status.st_size == len(content)
        number = self._os.open(self._at(path), os.O_WRONLY)
        try:
            self._os.write(number, content)
            self._os.utime(number, ns=(status.st_mtime_ns, status.st_mtime_ns))
        finally:
            self._close(number)

    def store(self, path, content):
        """Change a file as a program does that has mapped it: the time changes, nobody is told."""
        node = self._disk.find(self._at(path))
        node.fs.change(node)
        node.fs.set_data(node, content)

    # Names and metadata

    def delete(self, path):
        """Remove a file or link."""
        self._os.unlink(self._at(path))

    def rename(self, source, target):
        """Rename, over whatever the system lets it."""
        self._os.rename(self._at(source), self._at(target))

    def mkdir(self, path, mode=0o755):
        """Make a directory."""
        self._os.mkdir(self._at(path), mode)

    def rmtree(self, path):
        """Remove a directory with all that is in it, name by name, in steps."""
        for name in self._os.listdir(self._at(path)):
            below = path + b"/" + name
            if stat.S_ISDIR(self.stat(below).st_mode):
                yield from self.rmtree(below)
            else:
                self.delete(below)
            yield
        self._os.rmdir(self._at(path))

    def chmod(self, path, mode):
        """Set the permission bits."""
        self._os.chmod(self._at(path), mode)

    def touch(self, path, mtime_ns):
        """Set the modification time."""
        self._os.utime(self._at(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def symlink(self, target, path):
        """Make a symbolic link."""
        self._os.symlink(target, self._at(path))

    def link(self, source, path):
        """Make a hard link."""
        self._os.link(self._at(source), self._at(path), follow_symlinks=False)

    def mkfifo(self, path):
        """Make a FIFO."""
        self._os.mkfifo(self._at(path))
