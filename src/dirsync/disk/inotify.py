"""The faster source of hints on Linux: one inotify queue over every directory, read in a thread of its own.

Owns which directories are watched. It sees what watchfiles hides: closed files, lost events, names as bytes. It may
be missing, run into limits or fail: then it says so, and watchfiles and the scans go on alone.
"""

import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dirsync.core.paths import ROOT, RelPath, join
from dirsync.core.tree import Tree
from dirsync.disk.hints import Hints

if TYPE_CHECKING:
    from asyncinotify import Event, Inotify, Watch

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _Q_OVERFLOW, _IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK, _ISDIR = 0x1000000, 0x2000000, 0x4000000, 0x40000000
_CHANGES = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_MASK = _CHANGES | _ONLYDIR | _DONT_FOLLOW | _EXCL_UNLINK

_READ_SECONDS = 0.25
"""How long one wait for events lasts: a bound for stopping where no mark can be made."""
_READ_EVENTS = 64
"""Full-size events of one read."""
_BATCH_HINTS = 2_000
"""Hints handed over at once, so that the receiver can begin while a burst goes on."""

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
        self._inotify: Inotify | None = None
        self._thread = threading.Thread(target=self._run, name="dirsync-inotify", daemon=True)
        self._stopping = threading.Event()
        self._paths: dict[int, RelPath] = {}
        self._watches: Tree[Watch] = Tree()
        self._marks_wd = 0
        self._is_limited = False
        self.is_alive = False
        self.has_gaps = False
        """Whether some directory could not be watched: the system's limit was reached."""

    def start(self) -> bool:
        """Watch every directory below, then begin to report. False where this machine has no (more) inotify."""
        try:
            from asyncinotify import Inotify  # noqa: PLC0415 - Linux only
        except (ImportError, OSError, AttributeError):
            return False
        try:
            self._inotify = Inotify(cache_size=_READ_EVENTS, sync_timeout=_READ_SECONDS)
            self._marks_wd = self._add(self._marks).wd
            self._paths[self._add(self._directory).wd] = ROOT
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
        """Ask the thread to end; it does at the next event or within a quarter of a second."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for the thread and give everything back."""
        if self._thread.ident is not None:
            self._thread.join()
        self._close()

    def _close(self) -> None:
        self.is_alive = False
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _run(self) -> None:
        assert self._inotify is not None
        try:
            while not self._stopping.is_set():
                hints = self._read(self._inotify)
                if hints:
                    self._emit(hints)
        except OSError as error:
            self.is_alive = False
            self._notice(f"inotify failed ({error.strerror}): changes are found by slower means")
            self._emit(Hints(is_scan_needed=True))

    def _read(self, inotify: "Inotify") -> Hints:
        """Wait for an event, then take what else is ready."""
        hints = Hints()
        inotify.sync_timeout = _READ_SECONDS
        event = inotify.sync_get()
        inotify.sync_timeout = 0
        while event is not None:
            self._take(event, hints)
            if len(hints.paths) >= _BATCH_HINTS:
                break
            event = inotify.sync_get()
        return hints

    def _take(self, event: "Event", hints: Hints) -> None:
        mask = int(event.mask)
        if mask & _Q_OVERFLOW:
            hints.is_scan_needed = True
            self._watch_below(ROOT)
            return
        watch = event.watch
        if watch is None:
            return
        if watch.wd == self._marks_wd:
            if event.name is not None and mask & _CREATE:
                hints.marks.add(os.fsencode(event.name))
            return
        directory = self._paths.get(watch.wd)
        if directory is None:
            return
        if mask & _IGNORED:
            self._forget(watch.wd, directory)
        elif mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT):
            hints.paths.add(directory)
        elif event.name is not None:
            self._take_name(join(directory, os.fsencode(event.name)), mask, hints)

    def _take_name(self, path: RelPath, mask: int, hints: Hints) -> None:
        hints.paths.add(path)
        if mask & _ISDIR and mask & _MOVED_FROM:
            self._unwatch(path)
        elif mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
            self._watch(path)
            self._watch_below(path)
            hints.trees.add(path)

    def _add(self, path: bytes) -> "Watch":
        from asyncinotify import Mask  # noqa: PLC0415 - Linux only

        assert self._inotify is not None
        return self._inotify.add_watch(path, Mask(_MASK))

    def _watch(self, path: RelPath) -> None:
        """Watch one directory; one that is gone already, or never was one, needs none."""
        if self._is_limited:
            return
        try:
            watch = self._add(self._full(path))
        except OSError as error:
            if error.errno in _UNWATCHABLE:
                self._is_limited = self.has_gaps = True
                self._notice(
                    "the system's limit of watched directories is reached (fs.inotify.max_user_watches): "
                    "changes in some directories are found by scanning"
                )
            return
        before = self._paths.get(watch.wd)
        if before is not None and before != path:
            self._watches.discard(before)
        self._paths[watch.wd] = path
        self._watches.set(path, watch)

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
        assert self._inotify is not None
        for gone in (*self._watches.descendants(path), path):
            watch = self._watches.discard(gone)
            if watch is not None:
                self._paths.pop(watch.wd, None)
                try:
                    self._inotify.rm_watch(watch)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # EINVAL: the kernel has removed it with its directory
                        raise

    def _forget(self, wd: int, path: RelPath) -> None:
        self._paths.pop(wd, None)
        watch = self._watches.get(path)
        if watch is not None and watch.wd == wd:
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
