"""The directory that staging happens in, and where it lies.

In the state directory if a rename can lead from there into the root; otherwise in a directory in the root that is
made when it is needed, remembered in the state directory, and removed when it is empty. Once chosen it stays the one
in the root: it is known as ours, and what is left in it is found, only as long as it is used.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from dirsync.disk.durability import sync_directory
from dirsync.disk.root import Root
from dirsync.disk.syscalls import O_LIST, can_rename_between, give_back, open_beneath

_NAME_FILE = "staging_in_root"


class StagingArea:
    """One of the two. Calls that open or remove are serialised by the caller. Raises OSError."""

    def __init__(self, root: Root, state: Path) -> None:
        self._root = root
        home = state / "staging"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(home, O_LIST)
        is_same_mount = os.fstat(fd).st_dev == root.identity.device and can_rename_between(fd, root.fd)
        name_file = state / _NAME_FILE
        is_at_home = is_same_mount and not name_file.exists()
        self._fd: int | None = fd if is_at_home else None
        self._is_closed = False
        self.name_in_root: bytes | None = None
        if not is_at_home:
            os.close(fd)
            self.name_in_root = _remembered(name_file)
            self._fd = self._opened_in_root(self.name_in_root, is_new=False)

    def existing(self) -> int | None:
        """Return the descriptor of the directory; None where it is not made."""
        return self._fd

    def opened(self) -> int:
        """Return the descriptor of the directory, made if need be; not any more once it was closed (EBADF)."""
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._fd is not None and self.name_in_root is not None and os.fstat(self._fd).st_nlink == 0:
            os.close(self._fd)  # somebody cleared the root
            self._fd = None
        if self._fd is None:
            assert self.name_in_root is not None
            self._fd = self._opened_in_root(self.name_in_root, is_new=True)
            assert self._fd is not None
        return self._fd

    def sync(self) -> None:
        """Make the names in it durable."""
        if self._fd is not None:
            sync_directory(self._fd)

    def remove_if_empty(self) -> None:
        """Remove the directory in the root, if it is there and empty."""
        if self.name_in_root is None or self._fd is None:
            return
        try:
            os.rmdir(self.name_in_root, dir_fd=self._root.fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
            return
        os.close(self._fd)
        self._fd = None

    def close(self) -> None:
        """Give the descriptor back; an empty directory in the root goes."""
        self._is_closed = True
        self.remove_if_empty()
        if self._fd is not None:
            give_back(self._fd)
            self._fd = None

    def _opened_in_root(self, name: bytes, *, is_new: bool) -> int | None:
        if is_new:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._root.fd)
        try:
            fd = open_beneath(self._root.fd, name, O_LIST)
        except FileNotFoundError:
            return None
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
            os.close(fd)
            raise OSError(errno.EPERM, f"{os.fsdecode(name)} in the directory is not ours")
        return fd


def _remembered(file: Path) -> bytes:
    """Return the name of our directory in the root; chosen once by chance, and durable before it is ever used."""
    try:
        name = file.read_bytes()
    except FileNotFoundError:
        name = b".dirsync-" + secrets.token_hex(16).encode()
        fresh = file.with_name(file.name + ".new")
        with fresh.open("wb") as stream:
            stream.write(name)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)
    if hasattr(os, "O_DIRECTORY"):
        holder = os.open(file.parent, O_LIST)
        try:
            sync_directory(holder)  # also of a name that was found: who chose it may have died, or failed, before this
        finally:
            os.close(holder)
    return name
