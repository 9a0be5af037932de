"""`SimWatcher`, in place of the product's watcher: hints from a queue that fails as the real ones do.

Each directory has to be watched before it reports, and a new one is only when its own event is taken from the queue:
what happened in it before is not reported, but the directory itself is, as a tree to walk. Events carry the path
under which their directory was watched. They come late, doubled, in another order, or not at all; the queue overflows
with or without a word. Changes through a mapping make no event. Marks keep their place among the others.
"""

import asyncio
import os
from contextvars import copy_context
from dataclasses import dataclass

from dirsync.disk.hints import Hints
from tests.sim.calls import SimOS
from tests.sim.disk import running

_MADE = ("create", "moved_to")
_WRITTEN = ("modify", "close_write")


@dataclass(slots=True)
class WatchFaults:
    """How a watcher fails. Chances are per event, or, of an overflow, each time the queue is read.

    `is_telling`: it is an inotify queue, which says when it overflowed; else it is watchfiles, which does not, and
    which loses events besides. `is_silent`: it says nothing at all, not even of its marks.
    """

    delay_seconds_max: float = 0.01
    lost: float = 0.0
    doubled: float = 0.0
    is_reordered: bool = False
    overflow: float = 0.0
    queue_max: int = 16_384
    is_telling: bool = True
    is_silent: bool = False


def watcher_class(disk, rng, faults):
    """Return what to put in the place of `dirsync.disk.watch.Watcher`. `faults` may change at any time."""
    system = SimOS(disk, rng)

    class SimWatcher(_Watcher):
        """The watcher over this disk."""

        def __init__(self, directory, marks, on_hints, on_notice):
            super().__init__(system, rng, faults, (directory, marks), on_hints, on_notice)

    return SimWatcher


class _Watcher:
    def __init__(self, system, rng, faults, places, on_hints, on_notice):
        self._os = system
        self._disk = system.disk
        self._rng = rng
        self._faults = faults
        self._directory, self._marks = (system.path.realpath(os.fsencode(place)) for place in places)
        self._on_hints = on_hints
        self._on_notice = on_notice
        self._process = running.get()
        self._loop = None
        self._context = copy_context()  # events are made by others, and read by the watcher's process
        self._timer = None
        self._queue = []
        self._paths = {}
        self._marks_node = None

    @property
    def is_watching(self):
        return bool(self._paths)

    @property
    def has_gaps(self):
        return False

    @property
    def tells_losses(self):
        return self._faults.is_telling

    def start(self):
        """Watch everything that is there; nothing, where the directory or that of the marks is not there."""
        self._loop = asyncio.get_running_loop()
        try:
            self._os.makedirs(self._marks, 0o700, exist_ok=True)
            for name in self._os.listdir(self._marks):
                self.unmark(name)
        except OSError as error:
            self._on_notice(f"the watcher's directory cannot be used: {error}")
        try:
            self._marks_node, root = self._disk.find(self._marks), self._disk.find(self._directory)
        except OSError:
            return
        self._paths = {root: b""}
        self._watch_below(root, b"")
        self._disk.listeners.append(self._heard)

    def stop(self):
        """Say nothing any more."""
        if self._heard in self._disk.listeners:
            self._disk.listeners.remove(self._heard)
        if self._timer is not None:
            self._timer.cancel()

    def mark(self, name):
        """Make a mark. Raises OSError."""
        self._os.close(self._os.open(self._marks + b"/" + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def unmark(self, name):
        """Remove a mark."""
        try:
            self._os.unlink(self._marks + b"/" + name)
        except FileNotFoundError:
            pass

    def avoid_links(self):
        """Links to directories are not followed here."""

    # In the kernel

    def _heard(self, kind, directory, name, node):
        """Put an event into the queue, if its directory is watched."""
        if self._process is not None and self._process.is_killed:
            self.stop()
            return
        if self._faults.is_silent:
            return
        is_mark = directory is self._marks_node
        if not is_mark and directory not in self._paths and node not in self._paths:
            return
        self._queue.append((kind, directory, name, node))
        if self._timer is None:
            delay = self._rng.uniform(0, self._faults.delay_seconds_max)
            self._timer = self._loop.call_later(delay, self._read, context=self._context)

    # In the watcher

    def _read(self):
        """Take everything from the queue, and say what it says."""
        self._timer = None
        if self._process is not None and self._process.is_killed:
            self.stop()
            return
        events, self._queue = self._queue, []
        faults, hints = self._faults, Hints()
        if len(events) > faults.queue_max or self._rng.random() < faults.overflow:
            events = events[: self._rng.randint(0, min(len(events), faults.queue_max))]
            hints.is_scan_needed = faults.is_telling
            for directory, path in list(self._paths.items()):
                self._watch_below(directory, path)
        for event in self._disturbed(events):
            self._take(*event, hints)
        if hints:
            self._on_hints(hints)

    def _disturbed(self, events):
        """Return the events as they come: some lost, doubled, or in another order between two marks."""
        faults, rng = self._faults, self._rng
        segment, result = [], []
        for event in events:
            if event[1] is self._marks_node:
                result += self._shuffled(segment)
                result.append(event)
                segment = []
                continue
            if not faults.is_telling and rng.random() < faults.lost:
                continue
            segment.append(event)
            if rng.random() < faults.doubled:
                segment.append(event)
        return result + self._shuffled(segment)

    def _shuffled(self, events):
        if self._faults.is_reordered:
            self._rng.shuffle(events)
        return events

    def _take(self, kind, directory, name, node, hints):
        if directory is self._marks_node:
            if kind == "create":
                hints.marks.add(name)
            return
        own = self._paths.get(node)
        if own is not None and kind in ("delete", "moved_from"):
            self._unwatch(own)
            hints.paths.add(own)
        above = self._paths.get(directory)
        if above is None:
            return
        path = above + b"/" + name if above else name
        hints.paths.add(path)
        if kind in _WRITTEN:
            hints.written.add(path)
        if kind in _MADE and node.children is not None and node.links:
            self._paths[node] = path
            self._watch_below(node, path)
            hints.trees.add(path)

    def _watch_below(self, directory, path):
        pending = [(directory, path)]
        while pending:
            above, path = pending.pop()
            for name, node in above.children.items():
                if node.children is not None:
                    below = path + b"/" + name if path else name
                    self._paths[node] = below
                    pending.append((node, below))

    def _unwatch(self, path):
        """Forget a directory that went, with all below it; the root itself stays watched, wherever it is."""
        if path:
            prefix = path + b"/"
            self._paths = {
                node: each for node, each in self._paths.items() if each != path and not each.startswith(prefix)
            }
