"""Directories of ours that forbid writing to ourselves, opened up for one step.

A read-only directory (a module cache, `chmod -R a-w`) protects from slips of people and programs, not from being kept
the same as its counterpart. The root itself is never touched: its bits are nobody's but its owner's. If the process
dies within, the directory stays writable for its owner.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from dirsync.core.paths import ROOT, RelPath
from dirsync.disk.root import Root


@contextmanager
def made_writable(root: Root, directories: Iterable[RelPath]) -> Iterator[bool]:
    """Give the owner all rights in these directories until the block ends; yield whether that changed anything.

    Directories of other owners are left as they are. Raises OSError.
    """
    with ExitStack() as stack:
        is_changed = False
        for path in directories:
            if path == ROOT:
                continue
            fd = root.open_directory(path)
            stack.callback(os.close, fd)
            status = os.fstat(fd)
            mode = stat.S_IMODE(status.st_mode)
            if _is_ours(status) and mode & stat.S_IRWXU != stat.S_IRWXU:
                stack.callback(os.fchmod, fd, mode)
                os.fchmod(fd, mode | stat.S_IRWXU)
                is_changed = True
        yield is_changed


def _is_ours(status: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and status.st_uid == os.geteuid()
