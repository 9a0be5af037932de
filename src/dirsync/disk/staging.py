"""Where content waits, verified, before it is swapped in: beside the state, or in the root where it must.

Until it is swapped in, what is staged is ours, whole or not, and its name says so. The name from which it goes to its
place carries the hash of its path and the digest it was staged for, so after a crash anything else found under that is
known to be somebody's. Does not touch what is synchronised.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from dirsync.core.entry import PERMISSION_BITS, Digest, File
from dirsync.core.fingerprint import Fingerprint
from dirsync.core.paths import RelPath
from dirsync.disk.guard import has_writer
from dirsync.disk.kept import copy_content, path_hash
from dirsync.disk.leftovers import OURS, Stray, is_received, is_untouched, judge, remove
from dirsync.disk.metadata import dress_open
from dirsync.disk.probe import O_READ, lstat_at
from dirsync.disk.reading import READ_BYTES, SparseWriter, digest_of
from dirsync.disk.reasons import reason_of
from dirsync.disk.receiving import Receiving, received_name
from dirsync.disk.root import Root, fingerprint_of
from dirsync.disk.staging_area import StagingArea
from dirsync.disk.syscalls import O_BINARY
from dirsync.errors import DiskError

_NO_DIGEST = Digest(bytes(32))
"""In the name of what is taken out of the tree without anything to take its place: matches no content."""
UNCLAIMED_MAX = 32
"""Received contents, whole and partial, that wait to be resumed or applied; the oldest go first. More than the
transfers under way at a time, so that none of those is dropped."""


class Staged(NamedTuple):
    """Something that waits in the staging area for its path, with the stat that it had when it was staged.

    `is_dressed`: with the time and bits that are intended.
    """

    directory: int
    name: bytes
    digest: Digest
    stat: Fingerprint
    is_dressed: bool = False

    @property
    def inode(self) -> int:
        """Which it will have at its path, too."""
        return self.stat.inode

    @property
    def lasting_stat(self) -> Fingerprint | None:
        """The stat it keeps until somebody else can reach it; None where its time and bits are still to come."""
        return self.stat if self.is_dressed else None

    @property
    def swap_name(self) -> bytes:
        """The name from which it goes to its place, and under which what comes out or back is found."""
        return self.name.removeprefix(OURS)


class Staging:
    """The staging area of one root. Usable from several threads. Every method raises DiskError with a reason."""

    def __init__(self, root: Root, state: Path) -> None:
        """Use `state/staging` where a rename from there to the root is possible, else a directory in the root."""
        with mapped():
            self._area = StagingArea(root, state)
        self._numbers = count(int(secrets.token_hex(4), 16))  # tells names of the same content apart
        self._lock = threading.Lock()  # guards what follows
        self._live: dict[bytes, Digest] = {}  # every name that is in use
        self._receiving: set[Digest] = set()

    @property
    def is_receiving(self) -> bool:
        """Whether a transfer is being written right now, so that a sync of the whole file system would wait for it."""
        return bool(self._receiving)

    def is_staging(self, path: RelPath) -> bool:
        """Return whether `path` is the staging directory in the root, or in it: invisible to everybody."""
        name = self._area.name_in_root
        return name is not None and (path == name or path.startswith(name + b"/"))

    def write(self, path: RelPath, digest: Digest, content: bytes, intended: File | None = None) -> Staged | None:
        """Stage content that is at hand, with the time and bits of `intended`; None where it has another digest."""
        if digest_of(content) != digest:
            return None
        with self._new(path, digest) as (directory, name):
            # Nobody but us can reach it here: with its bits from the start it mostly needs no others.
            bits = 0o600 if intended is None else intended.mode & PERMISSION_BITS
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, bits, dir_fd=directory)
            try:
                sink = SparseWriter(fd)
                sink.write(content)
                sink.finish()
                present = fingerprint_of(os.fstat(fd)) if intended is None else dress_open(fd, intended)
            finally:
                os.close(fd)
            return Staged(directory, name, digest, present, is_dressed=intended is not None)

    def copy(self, path: RelPath, file: File, source: int) -> Staged | None:
        """Stage a copy of the open file `source`; None where what was written is not `file`'s content."""
        with self._new(path, file.digest) as (directory, name):
            is_durable = file.size > READ_BYTES  # what is large is not left to the sync of a whole batch
            if copy_content(source, directory, name, is_durable=is_durable) != (file.digest, file.size):
                self._drop(directory, name)
                return None
            return self._staged(directory, name, file.digest)

    def link(self, path: RelPath, target: bytes) -> Staged:
        """Stage a symbolic link."""
        digest = digest_of(target)
        with self._new(path, digest) as (directory, name):
            os.symlink(target, name, dir_fd=directory)
            return self._staged(directory, name, digest)

    def directory(self, path: RelPath) -> Staged:
        """Stage an empty directory, for now with all rights for us only."""
        with self._new(path, _NO_DIGEST) as (directory, name):
            os.mkdir(name, 0o700, dir_fd=directory)
            return self._staged(directory, name, _NO_DIGEST)

    def take(self, path: RelPath, digest: Digest) -> Staged | None:
        """Stage a content that was received whole; None where there is none.

        The same content for several paths is received once: the later ones get a copy of what the first one took.
        """
        with self._new(path, digest) as (directory, name):
            try:
                os.rename(received_name(digest), name, src_dir_fd=directory, dst_dir_fd=directory)
            except FileNotFoundError:
                if not self._copied_from_staged(directory, name, digest):
                    self._forget(name)
                    return None
            return self._staged(directory, name, digest)

    def received(self, digest: Digest) -> tuple[int, bool]:
        """Return how many bytes of this content are here, and whether they were found to be that content.

        They are not before the transfer was finished, also where a crash came after its last byte.
        """
        directory = self._area.existing()
        if directory is None:
            return 0, False
        with mapped():
            for is_partial in (False, True):
                with suppress(FileNotFoundError):
                    return lstat_at(directory, received_name(digest, is_partial=is_partial)).st_size, not is_partial
        return 0, False

    def receive(self, digest: Digest, size: int, offset: int) -> Receiving:
        """Return a transfer that goes on at `offset`, at most what `received` said; what is there beyond is dropped.

        It begins with its first call, which fails while another transfer of this content is under way. Of contents
        that nobody went on with the oldest are dropped then.
        """
        return Receiving(digest, size, offset, partial(self._begin, digest), partial(self._end, digest))

    def expose(self, staged: Staged) -> bytes:
        """Give it the name from which it goes to its place, now that it is whole and durable. Raises OSError."""
        os.rename(staged.name, staged.swap_name, src_dir_fd=staged.directory, dst_dir_fd=staged.directory)
        return staged.swap_name

    def cover(self, staged: Staged) -> None:
        """Take that name back: it did not go. Raises OSError."""
        os.rename(staged.swap_name, staged.name, src_dir_fd=staged.directory, dst_dir_fd=staged.directory)

    def discard(self, staged: Staged) -> bool:
        """Remove something staged that is not wanted any more; what is not ours under its name by then stays.

        So does ours, if it has been in the tree and somebody has written to it there, or may still do so: False then,
        and `stuck` is for what lies under its `swap_name`.
        """
        is_left = False
        with mapped():
            for name in (staged.name, staged.swap_name) if staged.name in self._live else ():
                with suppress(FileNotFoundError):
                    is_it = lstat_at(staged.directory, name).st_ino == staged.inode
                    if is_it and (name == staged.name or is_untouched(staged.directory, name, staged.digest)):
                        self._drop(staged.directory, name)
                    elif is_it:
                        is_left = True
            self._forget(staged.name)
        return not is_left

    def reserve(self, path: RelPath) -> tuple[int, bytes]:
        """Return a directory and a free name in it, for what is taken out of the tree at `path`. See `release`."""
        with mapped(), self._lock:
            name = self._name(path, _NO_DIGEST)
            self._live[name] = _NO_DIGEST
            return self._area.opened(), name

    def release(self, name: bytes) -> None:
        """Forget a name: what stood there has left the staging area."""
        self._forget(name)

    def sync(self) -> None:
        """Make the names in the area durable. Raises OSError."""
        self._area.sync()

    def tidy(self) -> None:
        """Remove the staging directory in the root if it is not needed now."""
        with mapped(), self._lock:
            if not self._live and not self._receiving:
                self._area.remove_if_empty()

    def recover(self, path_of: Callable[[bytes], RelPath | None]) -> list[Stray]:
        """Clear what a crash left behind; called once, before anything is staged.

        Content that is not what its name says came out of the tree and is returned, for the caller to keep; our own
        is removed, transfers stay for a while to be resumed. `path_of` maps a path hash (hex) back to its path.
        """
        directory = self._area.existing()
        if directory is None:
            return []
        with mapped():
            names = [os.fsencode(text) for text in sorted(os.listdir(directory))]
            strays = [judge(directory, name, path_of) for name in names]
        return [stray for stray in strays if stray is not None]

    def stuck(self, path: RelPath, name: bytes) -> Stray | None:
        """Return what was left under this name, for the caller to keep; None where it was ours, or went.

        A program that still has it open goes on in what is kept. Raises DiskError.
        """
        directory = self._area.existing()
        if directory is None:
            return None
        with mapped():
            try:
                if has_writer(directory, name):
                    return Stray(path, directory, name)
                return judge(directory, name, lambda _: path)
            except FileNotFoundError:
                return None

    def close(self) -> None:
        """Give the descriptors back."""
        self._area.close()

    @contextmanager
    def _new(self, path: RelPath, digest: Digest) -> Iterator[tuple[int, bytes]]:
        """Give out a fresh name, and take it back with what stands there if the block fails."""
        name = OURS + self._name(path, digest)
        with mapped():
            with self._lock:
                directory = self._area.opened()
                self._live[name] = digest
            try:
                yield directory, name
            except OSError:
                self._drop(directory, name)
                raise

    def _name(self, path: RelPath, digest: Digest) -> bytes:
        return b"%s-%s-%08x" % (path_hash(path), digest.hex().encode(), next(self._numbers))

    @staticmethod
    def _staged(directory: int, name: bytes, digest: Digest) -> Staged:
        return Staged(directory, name, digest, fingerprint_of(lstat_at(directory, name)))

    def _copied_from_staged(self, directory: int, name: bytes, digest: Digest) -> bool:
        with self._lock:
            others = [other for other, held in self._live.items() if held == digest and other != name]
        for other in others:
            try:
                source = os.open(other, O_READ, dir_fd=directory)
            except FileNotFoundError:
                continue
            try:
                if copy_content(source, directory, name, is_durable=False)[0] == digest:
                    return True
            finally:
                os.close(source)
            os.unlink(name, dir_fd=directory)
        return False

    def _drop(self, directory: int, name: bytes) -> None:
        with suppress(FileNotFoundError):
            remove(directory, name)
        self._forget(name)

    def _forget(self, name: bytes) -> None:
        with self._lock:
            self._live.pop(name, None)

    def _begin(self, digest: Digest) -> int:
        with mapped(), self._lock:
            if digest in self._receiving:
                raise DiskError("this content is being received already")
            directory = self._area.opened()
            self._drop_unclaimed(directory, {*self._receiving, digest})
            self._receiving.add(digest)
            return directory

    @staticmethod
    def _drop_unclaimed(directory: int, receiving: set[Digest]) -> None:
        in_use = {received_name(digest, is_partial=True) for digest in receiving}
        names = [os.fsencode(text) for text in os.listdir(directory)]
        unclaimed = [name for name in names if is_received(name) and name not in in_use]
        if len(unclaimed) > UNCLAIMED_MAX:
            unclaimed.sort(key=lambda name: lstat_at(directory, name).st_mtime_ns)
            for name in unclaimed[:-UNCLAIMED_MAX]:
                os.unlink(name, dir_fd=directory)

    def _end(self, digest: Digest) -> None:
        with self._lock:
            self._receiving.discard(digest)


@contextmanager
def mapped() -> Iterator[None]:
    """Turn what the system refuses into a DiskError with its reason."""
    try:
        yield
    except OSError as error:
        raise DiskError(reason_of(error)) from error
