"""The floor `write+sync+rename`: python -m benchmarks.tools.durable_copy SOURCE TARGET.

Copies a tree of small files as one who promises durable before visible must at least: written beside their targets
under other names, one `syncfs` for 256 of them, then renamed.
"""

import ctypes
import os
import sys
from pathlib import Path

FILES_PER_SYNC = 256
READ_BYTES_MAX = 64 * 1024


def copy(source: Path, target: Path) -> None:
    """Copy all files and directories of `source` into `target`."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    waiting: list[tuple[str, str]] = []

    def make_visible() -> None:
        if libc.syncfs(root) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
        for staged, name in waiting:
            os.rename(staged, name, src_dir_fd=root, dst_dir_fd=root)
        waiting.clear()

    for directory, _, files in os.walk(source):
        below = os.path.relpath(directory, source)
        if below != ".":
            os.mkdir(below, dir_fd=root)
        for name in files:
            staged = f"{below}/.staged-{len(waiting)}"
            _write(f"{directory}/{name}", staged, root)
            waiting.append((staged, f"{below}/{name}"))
            if len(waiting) == FILES_PER_SYNC:
                make_visible()
    make_visible()
    libc.syncfs(root)


def _write(source: str, target: str, root: int) -> None:
    reader = os.open(source, os.O_RDONLY)
    status = os.fstat(reader)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, status.st_mode & 0o777, dir_fd=root)
    while piece := os.read(reader, READ_BYTES_MAX):
        os.write(writer, piece)
    os.utime(writer, ns=(status.st_mtime_ns, status.st_mtime_ns))
    os.close(writer)
    os.close(reader)


if __name__ == "__main__":
    copy(Path(sys.argv[1]), Path(sys.argv[2]))
