"""Small disks of one's own that can be filled, frozen, taken away, made read-only, or lose power. They need root."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN: the file system forgets what is not on its disk, and answers nothing any more."""
_MAKE = {
    "ext4": (24, ["mkfs.ext4", "-q", "-F", "-O", "has_journal"]),
    "xfs": (300, ["mkfs.xfs", "-q", "-f"]),
}
"""For each kind its smallest comfortable size, in MiB, and the command that makes it."""


def need_disks(*kinds: str) -> None:
    """Skip the test where such disks cannot be made."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root, to mount file systems")
    tools = ["mount", "umount", *(_MAKE[kind][1][0] for kind in kinds if kind in _MAKE)]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


class Disk:
    """A file system of this kind (ext4, xfs, tmpfs), mounted at `home/name` from the start on.

    `size` is in MiB. What is closed is not mounted any more, whatever happened to it.
    """

    def __init__(self, home: Path, name: str, kind: str, size: int = 0, options: str = "") -> None:
        need_disks(kind)
        self.path = home / name
        self.kind = kind
        self._options = options
        self._image = home / f"{name}.img"
        self.path.mkdir()
        if kind == "tmpfs":
            self._options = ",".join(filter(None, [f"size={size}m", options]))
        else:
            smallest, command = _MAKE[kind]
            with self._image.open("wb") as image:
                image.truncate(max(size, smallest) * 1024 * 1024)
            subprocess.run([*command, self._image], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        """Mount it; its log is replayed, as after a power cut."""
        if self.kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", self._options, "faults", self.path]
        else:
            # A copy made by `reboot` has the id of the one that is still known elsewhere.
            options = ["loop", "nouuid" if self.kind == "xfs" else "", self._options]
            command = ["mount", "-o", ",".join(filter(None, options)), self._image, self.path]
        result = subprocess.run(command, capture_output=True, check=False)
        if result.returncode != 0:
            pytest.skip(f"cannot mount {self.kind} here: {result.stderr.decode().strip()}")

    def unmount(self) -> None:
        """Take it away; nobody must be using it."""
        subprocess.run(["umount", self.path], check=True, capture_output=True)

    def vanish(self) -> None:
        """Take it away under those who use it: its place is empty, what is open stays open."""
        subprocess.run(["umount", "-l", self.path], check=True, capture_output=True)

    @contextmanager
    def moved(self, to: Path) -> Iterator[None]:
        """Have it stand somewhere else meanwhile, without anybody closing it."""
        subprocess.run(["mount", "--move", self.path, to], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "--move", to, self.path], check=True, capture_output=True)

    def cut(self, *, is_log_kept: bool) -> None:
        """Take its power: what is not on the disk is lost, and every call fails until it is mounted anew.

        Fine where it has none any more.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", 1 if is_log_kept else 2))
        finally:
            os.close(fd)

    def reboot(self) -> None:
        """Give it its power back; those who used it must have ended."""
        self.unmount()
        if subprocess.run(["losetup", "-j", self._image], check=True, capture_output=True).stdout:
            # Another mount namespace, made meanwhile, still has it without power: what is on the disk goes on alone.
            copy = self._image.with_suffix(".copy")
            subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
            copy.replace(self._image)
        self.mount()

    def remount(self, options: str) -> None:
        """Change how it is mounted (`ro`, `rw`, `size=…`)."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True, capture_output=True)

    def break_it(self) -> None:
        """Have it find an error in itself, so that it turns read-only; only an ext4 mounted with errors=remount-ro."""
        source = subprocess.run(["findmnt", "-no", "SOURCE", self.path], check=True, capture_output=True, text=True)
        Path(f"/sys/fs/ext4/{Path(source.stdout.strip()).name}/trigger_fs_error").write_text("x\n")

    def repair(self) -> None:
        """Check it, and mount it anew; nobody must be using it."""
        self.unmount()
        subprocess.run(["e2fsck", "-fy", self._image], check=False, capture_output=True)
        self.mount()

    def freeze(self) -> None:
        """Have everything that would change it hang."""
        subprocess.run(["fsfreeze", "-f", self.path], check=True, capture_output=True)

    def thaw(self) -> None:
        """Let it go on."""
        subprocess.run(["fsfreeze", "-u", self.path], check=False, capture_output=True)

    def fill(self, but: int = 0) -> Path:
        """Leave no more than `but` bytes free, and return the file that takes the room."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as stream:
            size = 1024 * 1024
            while size >= 512:
                try:
                    stream.write(bytes(size))
                except OSError:
                    size //= 2
            stream.truncate(max(0, stream.tell() - but))
        sync(self.path)
        return filler

    def close(self) -> None:
        """Unmount it and remove its image, whatever state it is in."""
        if self.kind != "tmpfs":
            self.thaw()
        while os.path.ismount(self.path):
            if subprocess.run(["umount", self.path], check=False, capture_output=True).returncode != 0:
                self.vanish()
        self._image.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make everything on the file system of `path` durable: what a person did before the power failed."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)
