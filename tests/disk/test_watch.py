"""The watcher hints at whatever happens, with and without inotify, and survives what watchfiles does not."""

import errno
import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dirsync.disk import inotify, watch
from dirsync.disk.hints import Hints
from dirsync.disk.inotify_queue import IN_CLOSE_WRITE, IN_CREATE, IN_IGNORED, InotifyQueue
from dirsync.disk.watch import Watcher

PATIENCE_SECONDS = 20


class Listener:
    """Everything one watcher said."""

    def __init__(self, root: Path, marks: Path) -> None:
        self.root = root
        self.notices: list[str] = []
        self.paths: set[bytes] = set()
        self.trees: set[bytes] = set()
        self.scans = 0
        self.marks: set[bytes] = set()
        self._hints: queue.Queue[Hints] = queue.Queue()
        self.watcher = Watcher(root, marks, self._hints.put, self.notices.append)

    def until(self, is_enough: Callable[[], bool]) -> None:
        """Take hints until something holds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_enough():
            hints = self._hints.get(timeout=max(0.01, end - time.monotonic()))
            self.take(hints)

    def take(self, hints: Hints) -> None:
        self.paths |= hints.paths
        self.trees |= hints.trees
        self.scans += hints.is_scan_needed
        self.marks |= hints.marks

    def barrier(self) -> None:
        """Take everything hinted at so far."""
        name = os.fsencode(secrets.token_hex(8))
        self.marks = set()
        self.watcher.mark(name)
        self.until(lambda: name in self.marks)
        self.watcher.unmark(name)

    def forget(self) -> None:
        self.paths, self.trees, self.scans = set(), set(), 0


@pytest.fixture(params=["both", "watchfiles"])
def listening(request, tmp_path, monkeypatch) -> Iterator[Callable[[], object]]:
    if request.param == "watchfiles":
        monkeypatch.setattr(inotify.InotifySource, "start", lambda _self: False)

    @contextmanager
    def listen() -> Iterator[Listener]:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        listener = Listener(root, tmp_path / "marks")
        listener.watcher.start()
        try:
            yield listener
        finally:
            listener.watcher.stop()

    listen.has_inotify = request.param == "both"
    return listen


def test_every_kind_of_change_is_hinted_at(listening, tmp_path):
    with listening() as listener:
        root = listener.root
        steps = [
            lambda: (root / "a").write_text("1"),
            lambda: (root / "a").write_text("22"),
            lambda: (root / "a").chmod(0o600),
            lambda: os.utime(root / "a", ns=(1, 1)),
            (root / "a").unlink,
        ]
        for step in steps:
            listener.forget()
            step()
            listener.until(lambda: b"a" in listener.paths)
        listener.forget()
        (root / "b").write_text("1")
        (root / "b").rename(root / "c")
        listener.until(lambda: {b"b", b"c"} <= listener.paths)
        os.symlink("nowhere", root / "l")
        listener.until(lambda: b"l" in listener.paths)


def test_a_mark_comes_after_everything_before_it(listening):
    with listening() as listener:
        for number in range(300):
            (listener.root / f"f{number}").write_text("1")
        listener.barrier()
        assert {b"f%d" % number for number in range(300)} <= listener.paths


def test_what_appears_with_a_new_directory_is_found(listening):
    with listening() as listener:
        for number in range(30):
            deep = listener.root / f"d{number}" / "x" / "y"
            deep.mkdir(parents=True)
            (deep / "f").write_text("1")
        wanted = [b"d%d/x/y/f" % number for number in range(30)]

        def is_covered(path: bytes) -> bool:
            above = path.split(b"/")
            return path in listener.paths or any(b"/".join(above[:n]) in listener.trees for n in range(1, 4))

        listener.until(lambda: all(map(is_covered, wanted)))


def test_a_moved_directory_is_watched_under_its_new_name(listening, tmp_path):
    with listening() as listener:
        (listener.root / "old" / "sub").mkdir(parents=True)
        listener.until(lambda: b"old" in listener.trees)
        (listener.root / "old").rename(listener.root / "new")
        listener.until(lambda: b"new" in listener.trees and b"old" in listener.paths)
        listener.barrier()
        listener.forget()
        (listener.root / "new" / "sub" / "f").write_text("1")
        listener.until(lambda: b"new/sub/f" in listener.paths)
        (listener.root / "new").rename(tmp_path / "outside")
        listener.until(lambda: b"new" in listener.paths)
        listener.barrier()
        listener.forget()
        (tmp_path / "outside" / "sub" / "g").write_text("1")
        listener.barrier()
        if listening.has_inotify:
            assert listener.paths == set()


def test_a_name_that_is_not_utf8_stops_nothing(listening):
    with listening() as listener:
        name = os.path.join(os.fsencode(listener.root), b"\xff\xfe")
        with open(name, "wb") as stream:
            stream.write(b"1")
        listener.until(lambda: b"\xff\xfe" in listener.paths or listener.scans > 0)
        listener.barrier()
        listener.forget()
        (listener.root / "later").write_text("1")
        listener.until(lambda: b"later" in listener.paths)


def test_links_to_directories_are_not_followed(listening, tmp_path):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    (tmp_path / "root" / "self").symlink_to(tmp_path / "root")
    with listening() as listener:
        (outside / "sub" / "f").write_text("1")
        (outside / "g").write_text("1")
        (listener.root / "real").write_text("1")
        listener.until(lambda: b"real" in listener.paths)
        listener.barrier()
        assert not any(path.startswith((b"link/", b"self/")) for path in listener.paths)
        (listener.root / "d").mkdir()
        listener.until(lambda: b"d" in listener.trees)
        (listener.root / "d" / "f").write_text("1")
        listener.until(lambda: b"d/f" in listener.paths or listener.scans > 0)


def test_the_end_of_the_root_is_hinted_at(listening, tmp_path):
    with listening() as listener:
        listener.root.rename(tmp_path / "away")
        listener.until(lambda: b"" in listener.paths or listener.scans > 0)
        shutil.rmtree(tmp_path / "away")


def test_lost_hints_ask_for_a_scan_and_watching_goes_on(tmp_path, listening, monkeypatch):
    if not listening.has_inotify:
        pytest.skip("watchfiles does not say that it lost hints")
    with listening() as listener:
        taken = threading.Event()
        real = inotify.InotifySource._take

        def take(self, event, hints):
            if not taken.is_set():
                taken.set()
                real(self, (-1, inotify.IN_Q_OVERFLOW, b""), hints)
                return
            real(self, event, hints)

        monkeypatch.setattr(inotify.InotifySource, "_take", take)
        (listener.root / "a").write_text("1")
        listener.until(lambda: listener.scans > 0)
        (listener.root / "d").mkdir()
        listener.until(lambda: b"d" in listener.trees)
        listener.barrier()
        (listener.root / "d" / "f").write_text("1")
        listener.until(lambda: b"d/f" in listener.paths)


def test_where_inotify_fails_watchfiles_sees_to_new_directories(listening, monkeypatch):
    def fail(_self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if not listening.has_inotify:
        pytest.skip("about inotify")
    with listening() as listener:
        monkeypatch.setattr(InotifyQueue, "read", fail)
        (listener.root / "f").write_text("1")  # ends the read under way
        listener.until(lambda: listener.scans == 2)  # when inotify failed, and when watchfiles watched anew
        (listener.root / "d").mkdir()
        listener.until(lambda: b"d" in listener.trees)
        (listener.root / "d" / "f").write_text("1")
        listener.until(lambda: b"d/f" in listener.paths)
        listener.barrier()


def test_at_the_limit_of_watches_it_says_so_and_goes_on(tmp_path, listening, monkeypatch):
    if not listening.has_inotify:
        pytest.skip("a limit of inotify")
    real = inotify.InotifySource._add

    def add(self, path):
        if path.endswith(b"/full"):
            raise OSError(28, "No space left on device")
        return real(self, path)

    monkeypatch.setattr(inotify.InotifySource, "_add", add)
    with listening() as listener:
        (listener.root / "full").mkdir()
        listener.until(lambda: bool(listener.notices))
        assert "max_user_watches" in listener.notices[0]
        assert listener.watcher.has_gaps
        (listener.root / "full" / "f").write_text("1")  # watchfiles still sees it
        listener.until(lambda: b"full/f" in listener.paths or b"full" in listener.trees)


def test_it_watches_although_old_marks_cannot_be_removed(tmp_path, listening):
    (tmp_path / "marks" / "no file").mkdir(parents=True)
    with listening() as listener:
        assert "changes are found by scanning" in listener.notices[0]
        (listener.root / "f").write_text("1")
        listener.until(lambda: b"f" in listener.paths)


def test_trouble_of_watchfiles_rebuilds_it_and_asks_for_a_scan(tmp_path, listening, monkeypatch):
    built = []
    real = watch.RustNotify

    class Failing:
        def __init__(self, *args):
            built.append(1)
            self._real = real(*args)

        def watch(self, *args):
            if len(built) == 1:
                raise RuntimeError("the watch broke")
            return self._real.watch(*args)

        def close(self):
            self._real.close()

    monkeypatch.setattr(watch, "RustNotify", Failing)
    with listening() as listener:
        if not listening.has_inotify:
            listener.until(lambda: listener.scans > 0)
        (listener.root / "a").write_text("1")
        listener.until(lambda: b"a" in listener.paths)


def test_it_stops_quickly_and_leaves_no_thread(listening):
    for _ in range(3):
        with listening() as listener:
            (listener.root / "a").write_text("1")
            listener.until(lambda: b"a" in listener.paths)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("dirsync-")] == []
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with listening():
            pass
    # watchfiles gives its own two back a moment after it was closed
    assert len(os.listdir("/proc/self/fd")) < descriptors + 10


def test_watchfiles_does_not_repeat_what_inotify_told(tmp_path):
    watcher = Watcher(tmp_path, tmp_path / "marks", lambda _: None, lambda _: None)
    seen = {(2, str(tmp_path / "told")), (2, str(tmp_path / "untold"))}

    def repeated() -> set[bytes]:
        hints = Hints()
        watcher._take(Hints(paths={b"told"}))
        watcher._note(seen, hints)
        return hints.paths

    watcher._inotify.is_alive = True
    assert repeated() == {b"untold"}
    watcher._inotify.has_gaps = True
    assert repeated() == {b"told", b"untold"}
    watcher._inotify.is_alive = watcher._inotify.has_gaps = False
    assert repeated() == {b"told", b"untold"}


def test_the_queue_tells_each_event_with_its_watch_and_name(tmp_path):
    try:
        queue = InotifyQueue()
    except OSError:
        pytest.skip("no inotify here")
    root = os.fsencode(tmp_path)
    one = queue.add(root, IN_CREATE | IN_CLOSE_WRITE)
    (tmp_path / "a name of seventeen").write_text("1")
    (tmp_path / "b").touch()
    assert queue.read() == [
        (one, mask, name) for name in (b"a name of seventeen", b"b") for mask in (IN_CREATE, IN_CLOSE_WRITE)
    ]
    queue.remove(one)
    assert queue.read() == [(one, IN_IGNORED, b"")]
    with pytest.raises(FileNotFoundError):
        queue.add(root + b"/none", IN_CREATE)
    queue.wake()
    assert queue.read() == queue.read() == []
    queue.close()


def test_where_nothing_could_wake_its_reader_there_is_no_queue(monkeypatch):
    monkeypatch.delattr(os, "eventfd", raising=False)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        InotifyQueue()


def test_a_watcher_that_is_stopped_while_it_starts_leaves_no_thread(tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    watcher = Listener(tmp_path / "root", tmp_path / "marks").watcher
    source, is_starting, may_go_on = watcher._inotify, threading.Event(), threading.Event()
    start, request_stop = source.start, source.request_stop

    def start_slowly():
        is_starting.set()
        may_go_on.wait()
        return start()

    def request_and_go_on():
        request_stop()
        may_go_on.set()

    monkeypatch.setattr(source, "start", start_slowly)
    monkeypatch.setattr(source, "request_stop", request_and_go_on)
    starting = threading.Thread(target=watcher.start)
    starting.start()
    is_starting.wait()
    watcher.stop()
    starting.join()
    assert not watcher._thread.is_alive()
    assert not source._thread.is_alive()
    watcher.start()
    assert not watcher.is_watching
