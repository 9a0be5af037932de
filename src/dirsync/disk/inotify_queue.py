"""The kernel's queue of inotify events: watches in, batches of events out. Knows neither trees nor hints.

Called through ctypes and read by the buffer: a burst costs 2 us per event, so that the thread which reads it leaves
the interpreter to those who work on what it reports. Exists on Linux only; elsewhere opening one raises OSError.
"""

import ctypes
import errno
import functools
import os
import select
import struct
import sys

IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_ISDIR = 0x1000000, 0x2000000, 0x4000000, 0x40000000

Event = tuple[int, int, bytes]
"""The number of the watch, the mask of what happened, and the name in the watched directory (b"" for itself)."""

_HEADER = struct.Struct("iIII")
_READ_BYTES = 64 * 1024


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class InotifyQueue:
    """One queue. Every method raises OSError; the queue is closed once, when no thread uses it any more."""

    def __init__(self) -> None:
        libc = _libc()
        if libc is None or not hasattr(libc, "inotify_init1") or not hasattr(os, "eventfd"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._libc = libc
        self._fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            os.close(self._fd)
            raise
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)

    def add(self, path: bytes, mask: int) -> int:
        """Watch a path for these events; return the number of the watch, which is the old one for the same inode."""
        return _checked(self._libc.inotify_add_watch(self._fd, ctypes.c_char_p(path), ctypes.c_uint32(mask)))

    def remove(self, wd: int) -> None:
        """End a watch."""
        _checked(self._libc.inotify_rm_watch(self._fd, wd))

    def wake(self) -> None:
        """Have the read under way, or else the next one, and all after it, return at once. From any thread."""
        os.eventfd_write(self._wake_fd, 1)

    def read(self) -> list[Event]:
        """Wait for events, and return all that are ready, up to one buffer; none where it was woken."""
        self._poll.poll()
        try:
            buffer = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return []
        events = []
        at, unpack, size = 0, _HEADER.unpack_from, _HEADER.size
        while at < len(buffer):
            wd, mask, _cookie, length = unpack(buffer, at)
            at += size + length
            events.append((wd, mask, buffer[at - length : at].rstrip(b"\0")))
        return events

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._fd)
        os.close(self._wake_fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
