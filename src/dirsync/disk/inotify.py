"""The faster source of hints on Linux: one inotify queue over every directory, read in a thread of its own.

Owns which directories are watched. It sees what watchfiles hides: closed files, lost events, names as bytes. It may
be missing, run into limits or fail: then it says so, and watchfiles and the scans go on alone.
"""

import errno
import os
import threading
import time
from collections.abc import Callable

from dirsync.core.paths import ROOT, RelPath, join
from dirsync.core.tree import Tree
from dirsync.disk.hints import Hints
from dirsync.disk.inotify_queue import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_DONT_FOLLOW,
    IN_EXCL_UNLINK,
    IN_IGNORED,
    IN_ISDIR,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Event,
    InotifyQueue,
)

_OF_NAMES = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
_MASK = _OF_NAMES | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK

_BURST_SECONDS = 0.002
_BURST_READS = 16
"""So many reads, each so soon after the one before, are a burst: from then on events are collected for as long
before they are read, because handing over each by itself costs more than what it leads to."""

_UNWATCHABLE = (errno.ENOSPC, errno.ENOMEM, errno.EMFILE)


class InotifySource:
    """Hints from inotify. `emit` and `notice` are called in its thread (during `start` also in the caller's)."""

    def __init__(
        self, directory: bytes, marks: bytes, emit: Callable[[Hints], None], notice: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._marks = marks
        self._emit = emit
        self._notice = notice
        self._queue: InotifyQueue | None = None
        self._thread = threading.Thread(target=self._run, name="dirsync-inotify", daemon=True)
        self._stopping = threading.Event()
        self._paths: dict[int, RelPath] = {}
        self._watches: Tree[int] = Tree()
        self._marks_wd = 0
        self._is_limited = False
        self.is_alive = False
        self.has_gaps = False
        """Whether some directory could not be watched: the system's limit was reached."""

    def start(self) -> bool:
        """Watch every directory below, then begin to report. False where this machine has no (more) inotify."""
        try:
            self._queue = InotifyQueue()
            self._marks_wd = self._add(self._marks)
            self._paths[self._add(self._directory)] = ROOT
        except OSError as error:
            self._close()
            if error.errno in _UNWATCHABLE:
                self._notice(f"inotify is at a system limit ({error.strerror}): changes are found by slower means")
            return False
        self._watch_below(ROOT)
        self.is_alive = True
        self._thread.start()
        return True

    def request_stop(self) -> None:
        """Ask the thread to end; it does when it has seen something, or is woken by `join`."""
        self._stopping.set()

    def join(self) -> None:
        """End the thread, if there is one, and give everything back. Not while it is being started."""
        if self._queue is not None and self._thread.ident is not None:
            self._queue.wake()
            self._thread.join()
        self._close()

    def _close(self) -> None:
        self.is_alive = False
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    def _run(self) -> None:
        assert self._queue is not None
        reads, last = 0, 0.0
        try:
            while not self._stopping.is_set():
                events = self._queue.read()
                now = time.monotonic()
                reads = reads + 1 if events and now - last < 2 * _BURST_SECONDS else 0
                last = now
                hints = Hints()
                for event in events:
                    self._take(event, hints)
                if hints:
                    self._emit(hints)
                if reads > _BURST_READS:
                    self._stopping.wait(_BURST_SECONDS)
        except OSError as error:
            self.is_alive = False
            self._notice(f"inotify failed ({error.strerror}): changes are found by slower means")
            self._emit(Hints(is_scan_needed=True))

    def _take(self, event: Event, hints: Hints) -> None:
        wd, mask, name = event
        if mask & IN_Q_OVERFLOW:
            hints.is_scan_needed = True
            self._watch_below(ROOT)
            return
        if wd == self._marks_wd:
            if name and mask & IN_CREATE:
                hints.marks.add(name)
            return
        directory = self._paths.get(wd)
        if directory is None:
            return
        if mask & IN_IGNORED:
            self._forget(wd, directory)
        elif mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT):
            hints.paths.add(directory)
        elif name:
            self._take_name(join(directory, name), mask, hints)

    def _take_name(self, path: RelPath, mask: int, hints: Hints) -> None:
        hints.paths.add(path)
        if mask & (IN_MODIFY | IN_CLOSE_WRITE):
            hints.written.add(path)
        elif mask & IN_ISDIR and mask & IN_MOVED_FROM:
            self._unwatch(path)
        elif mask & IN_ISDIR and mask & (IN_CREATE | IN_MOVED_TO):
            self._watch(path)
            self._watch_below(path)
            hints.trees.add(path)

    def _add(self, path: bytes) -> int:
        assert self._queue is not None
        return self._queue.add(path, _MASK)

    def _watch(self, path: RelPath) -> None:
        """Watch one directory; one that is gone already, or never was one, needs none."""
        if self._is_limited:
            return
        try:
            wd = self._add(self._full(path))
        except OSError as error:
            if error.errno in _UNWATCHABLE:
                self._is_limited = self.has_gaps = True
                self._notice(
                    "the system's limit of watched directories is reached (fs.inotify.max_user_watches): "
                    "changes in some directories are found by scanning"
                )
            return
        before = self._paths.get(wd)
        if before is not None and before != path:
            self._watches.discard(before)
        self._paths[wd] = path
        self._watches.set(path, wd)

    def _watch_below(self, top: RelPath) -> None:
        """Watch each directory before it is listed, so that whatever comes later is either listed or reported."""
        stack = [top]
        while stack:
            directory = stack.pop()
            for name in _directories_in(self._full(directory)):
                path = join(directory, name)
                self._watch(path)
                stack.append(path)

    def _unwatch(self, path: RelPath) -> None:
        """Stop watching a directory that moved away: what it would report has another name now, or is not ours."""
        assert self._queue is not None
        for gone in (*self._watches.descendants(path), path):
            wd = self._watches.discard(gone)
            if wd is not None:
                self._paths.pop(wd, None)
                try:
                    self._queue.remove(wd)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # EINVAL: the kernel has removed it with its directory
                        raise

    def _forget(self, wd: int, path: RelPath) -> None:
        self._paths.pop(wd, None)
        if self._watches.get(path) == wd:
            self._watches.discard(path)
        self._is_limited = False

    def _full(self, path: RelPath) -> bytes:
        return os.path.join(self._directory, path) if path else self._directory


def _directories_in(directory: bytes) -> list[bytes]:
    """Return the names of the directories in it; none where it is gone or cannot be listed (a scan reports that)."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
