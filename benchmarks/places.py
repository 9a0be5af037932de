"""Where the trees lie: the directory at hand, an ext4 with journal in an image file, tmpfs.

Each is made for the run and removed by it. The image has no name any more once it is mounted, so that nothing stays
behind however the run ends.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

IMAGE_BYTES = 12 * 1024**3
"""Sparse: what is not written takes no room."""
BYTES_PER_INODE = 8192
SHARED_MEMORY = Path("/dev/shm")
JOURNALS = Path("/proc/fs/jbd2")


class PlaceMissing(Exception):
    """The machine does not have the place, or does not let us make it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of the run's own. `is_durable`: whether a sync there writes to a disk."""

    name: str
    root: Path
    file_system: str
    is_durable: bool


@contextmanager
def lend_at_hand(directory: Path) -> Iterator[Place]:
    """Lend a temporary directory inside the one at hand."""
    with tempfile.TemporaryDirectory(prefix="dirsync-bench-", dir=directory) as root:
        kind = file_system(root)
        yield Place("here", Path(root), kind, is_durable=not kind.startswith("tmpfs"))


@contextmanager
def lend_ext4(directory: Path) -> Iterator[Place]:
    """Lend an ext4 with journal, in an image file inside the directory at hand.

    Raises:
        PlaceMissing: not root, or no loop devices.

    """
    if os.geteuid() != 0:
        raise PlaceMissing("only root can mount an image")
    with tempfile.TemporaryDirectory(prefix="dirsync-bench-", dir=directory) as folder:
        image, root = Path(folder, "image"), Path(folder, "mounted")
        root.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        try:
            _run("mkfs.ext4", "-qF", "-i", str(BYTES_PER_INODE), image)
            _run("mount", "-o", "loop,noinit_itable", image, root)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PlaceMissing(f"an image could not be mounted: {error}") from error
        try:
            image.unlink()
            yield Place("ext4", root, f"{file_system(root)} in an image on {file_system(folder)}", is_durable=True)
        finally:
            _run("umount", "--lazy", root)


@contextmanager
def lend_tmpfs(_directory: Path) -> Iterator[Place]:
    """Lend a directory in memory, where nobody syncs.

    Raises:
        PlaceMissing: there is none.

    """
    if not SHARED_MEMORY.is_dir() or not file_system(SHARED_MEMORY).startswith("tmpfs"):
        raise PlaceMissing(f"{SHARED_MEMORY} is no tmpfs")
    with tempfile.TemporaryDirectory(prefix="dirsync-bench-", dir=SHARED_MEMORY) as root:
        yield Place("tmpfs", Path(root), "tmpfs", is_durable=False)


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "here": lend_at_hand,
    "ext4": lend_ext4,
    "tmpfs": lend_tmpfs,
}


def file_system(path: Path | str) -> str:
    """Return the kind of the file system at a path; of an ext4 also whether it has a journal."""
    kind = _run("stat", "-f", "-c", "%T", path).strip()
    if kind != "ext2/ext3":
        return kind
    device = Path(_run("findmnt", "-n", "-o", "SOURCE", "-T", path).strip()).name
    has_journal = any(JOURNALS.glob(f"{device}-*"))
    return f"ext4 {'with' if has_journal else 'without'} journal"


def _run(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
