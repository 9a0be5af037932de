"""Watches a directory and says where to look: watchfiles everywhere, inotify beside it where there is one.

Owns two threads. Nothing here is a fact: whoever takes the hints looks for himself. Must not end because of what it
meets (a name that is not UTF-8, a limit, a lost directory): it builds its watch anew and asks for a scan.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from watchfiles._rust_notify import RustNotify

from dirsync.disk.hints import Hints, is_directory
from dirsync.disk.inotify import InotifySource

_STEP_ACTIVE_MS = 2
_STEP_IDLE_MS = 50
_STEP_BESIDE_MS = 250
"""watchfiles polls: it is quick for a while after a change, slow when idle, slowest beside inotify."""
_ACTIVE_SECONDS = 10.0
_TIMEOUT_MS = 1_000
_AGAIN_MS = 50
"""A directory that appeared is walked once more after this: files may come before the watch does."""
_REBUILD_FIRST_SECONDS = 0.1
_REBUILD_MAX_SECONDS = 5.0

_TROUBLE = (OSError, RuntimeError, ValueError)
"""What watchfiles raises: RuntimeError is its own kind, ValueError a directory whose name is not UTF-8."""


class Watcher:
    """Hints about one directory, from a start to a stop. `on_hints` and `on_notice` are called in its threads.

    `marks` is an empty directory of its own outside the watched one: a mark made there comes back in `Hints.marks`
    after every earlier hint.
    """

    def __init__(
        self, directory: Path, marks: Path, on_hints: Callable[[Hints], None], on_notice: Callable[[str], None]
    ) -> None:
        self._directory = os.path.realpath(directory)
        self._marks = os.path.realpath(marks)
        self._on_hints = on_hints
        self._on_notice = on_notice
        self._inotify = InotifySource(os.fsencode(self._directory), os.fsencode(self._marks), self._take, on_notice)
        self._thread = threading.Thread(target=self._run, name="dirsync-watchfiles", daemon=True)
        self._turn = threading.Lock()  # who stops it waits until it has started
        self._stopping = threading.Event()
        self._interrupted = threading.Event()
        self._has_tried = threading.Event()
        self._has_links = False
        self._is_following = False
        # What inotify has told since watchfiles last told something. Both read the same events, so of these watchfiles
        # knows nothing more: to tell them twice would have every file of a burst looked at once more.
        self._told: set[bytes] = set()

    @property
    def is_watching(self) -> bool:
        """Whether there is anything now that could give a hint."""
        return self._is_following or self._inotify.is_alive

    @property
    def has_gaps(self) -> bool:
        """Whether it is known that some directories are not watched."""
        return self._inotify.has_gaps

    @property
    def tells_losses(self) -> bool:
        """Whether it says itself when hints were lost, as inotify does and watchfiles does not."""
        return self._inotify.is_alive

    def start(self) -> None:
        """Begin to watch; returns when a change from now on is seen, or known to be left to scans.

        Once stopped it does not start any more.
        """
        with self._turn:
            if self._stopping.is_set():
                return
            self._clear_marks()
            self._inotify.start()
            self._thread.start()
            if not self._inotify.is_alive:
                self._has_tried.wait()

    def stop(self) -> None:
        """End both threads."""
        self._stopping.set()
        self._interrupted.set()
        self._inotify.request_stop()
        with self._turn:
            self._inotify.join()
            if self._thread.ident is not None:
                self._thread.join()

    def _clear_marks(self) -> None:
        try:
            os.makedirs(self._marks, mode=0o700, exist_ok=True)
            for name in os.listdir(self._marks):
                self.unmark(os.fsencode(name))
        except OSError as error:  # without marks nothing proves that it is alive, and it is built anew
            self._on_notice(f"the watcher's directory cannot be used ({error.strerror}): changes are found by scanning")

    def mark(self, name: bytes) -> None:
        """Make a mark of a name never used before. Raises OSError where the state directory cannot be written."""
        os.close(os.open(os.path.join(os.fsencode(self._marks), name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def unmark(self, name: bytes) -> None:
        """Remove a mark."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(os.fsencode(self._marks), name))

    def avoid_links(self) -> None:
        """Say that links to directories stand in the tree: watchfiles would follow those it finds at its start."""
        if not self._has_links:
            self._has_links = True
            self._interrupted.set()

    def _take(self, hints: Hints) -> None:
        self._told.update(hints.paths)
        self._on_hints(hints)

    def _run(self) -> None:
        """Watch with watchfiles; whatever ends one watch begins the next."""
        delay = _REBUILD_FIRST_SECONDS
        is_first = True
        while not self._stopping.is_set():
            self._interrupted.clear()
            is_beside = self._inotify.is_alive
            try:
                source = self._build(is_beside)
            except _TROUBLE as error:
                if is_first and not self._inotify.is_alive:
                    self._on_notice(f"the directory cannot be watched ({error}): changes are found by scanning")
                self._has_tried.set()
                is_first = False
            else:
                self._is_following = True
                self._has_tried.set()
                self._ask_for_scan(is_first)
                is_first = False
                is_interrupted = self._follow(source, is_beside)
                self._is_following = False
                if is_interrupted:
                    delay = _REBUILD_FIRST_SECONDS
                    continue
            self._stopping.wait(delay)
            delay = min(delay * 2, _REBUILD_MAX_SECONDS)
        self._has_tried.set()

    def _build(self, is_beside: bool) -> RustNotify:
        """Begin to watch.

        Where watchfiles finds the directories itself it looks at each file, and nothing else runs meanwhile. So beside
        inotify, which sees to new ones, it is told those that are there.
        """
        directories, has_links = _directories_below(self._directory)
        self._has_links = self._has_links or has_links
        if self._has_links or is_beside:
            return RustNotify([*directories, self._marks], False, False, 0, False, False)
        return RustNotify([self._directory, self._marks], False, False, 0, True, False)

    def _ask_for_scan(self, is_first: bool) -> None:
        """Between two watches nothing was seen, unless inotify saw it."""
        if not is_first and not self._inotify.is_alive:
            self._on_hints(Hints(is_scan_needed=True))

    def _follow(self, source: RustNotify, is_beside: bool) -> bool:
        """Report what one watch sees. Returns True where it only has to be built anew, False after trouble."""
        active_until = 0.0
        again: set[bytes] = set()
        try:
            while not self._stopping.is_set() and not self._interrupted.is_set():
                if self._inotify.is_alive is not is_beside:
                    return True
                step = self._step_ms(active_until)
                timeout = _AGAIN_MS if again else _TIMEOUT_MS
                seen = source.watch(max(step * 4, _AGAIN_MS), step, timeout, self._interrupted)
                hints = Hints(trees=again)
                again = set()
                if isinstance(seen, set):
                    active_until = time.monotonic() + _ACTIVE_SECONDS
                    again = self._note(seen, hints)
                if hints:
                    self._on_hints(hints)
                if again and self._has_links:
                    return True
        except _TROUBLE:
            return False
        finally:
            source.close()
        return True

    def _step_ms(self, active_until: float) -> int:
        if self._inotify.is_alive:
            return _STEP_BESIDE_MS
        return _STEP_ACTIVE_MS if time.monotonic() < active_until else _STEP_IDLE_MS

    def _note(self, seen: set[tuple[int, str]], hints: Hints) -> set[bytes]:
        """Add what watchfiles saw to `hints`; return the directories that appeared."""
        added = set()
        told, self._told = self._told, set()
        if not self._inotify.is_alive or self._inotify.has_gaps:
            told = set()
        for change, text in seen:
            if text.startswith(self._marks + os.sep):
                if not self._inotify.is_alive:
                    hints.marks.add(os.fsencode(text[len(self._marks) + 1 :]))
                continue
            path = _relative(text, self._directory)
            is_news = path not in told
            if is_news:
                hints.paths.add(path)
            # A new directory that inotify told of is watched and walked already; only links are followed again.
            if change == 1 and path and (is_news or self._has_links) and is_directory(text):
                added.add(path)
        hints.trees |= added
        return added if self._has_links or not self._inotify.is_alive else set()


def _relative(text: str, directory: str) -> bytes:
    path = os.fsencode(text[len(directory) + 1 :])
    return path if os.sep == "/" else path.replace(os.fsencode(os.sep), b"/")


def _directories_below(directory: str) -> tuple[list[str], bool]:
    """Return every directory of a tree, and whether links to directories stand in it."""
    found, has_links = [directory], False
    for above in found:
        try:
            with os.scandir(above) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        found.append(entry.path)
                    elif entry.is_symlink() and entry.is_dir():
                        has_links = True
        except OSError:
            continue  # it went away, or a scan reports why it cannot be listed
    return found, has_links
