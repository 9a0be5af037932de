"""Locks at random moments under heavy writing at B: what is locked stands still at A, and nothing goes backwards."""

import os
import random
import threading
from pathlib import Path

import pytest

from dirsync.cli.server_a import connect_to
from dirsync.core.paths import RelPath
from dirsync.run.settings import load_settings
from dirsync.wire.client_messages import LockReply, LockRequest, UnlockReply, UnlockRequest
from tests.e2e.servers import Pair

NAMES = 6
SIZES = (10, 1_000, 60_000, 200_000)
"""The largest travels beside the lanes, so its apply is under way for longest."""


def _content(number: int, size: int) -> bytes:
    head = b"%012d %08d\n" % (number, size)
    return head + bytes([number % 251]) * size


def _number(content: bytes) -> int:
    """Return which state this is; a torn one is an error."""
    number, size = int(content[:12]), int(content[13:21])
    assert content == _content(number, size), f"torn: {content[:30]!r}, {len(content)} bytes"
    return number


class Writer(threading.Thread):
    """A program at B that saves the names again and again, each time with a higher number."""

    def __init__(self, root: Path, scratch: Path, seed: int) -> None:
        super().__init__(name="writer")
        self._root = root
        self._scratch = scratch
        self._choose = random.Random(seed)
        self._pause = threading.Event()
        self.number = 0

    def run(self) -> None:
        while not self._pause.wait(self._choose.expovariate(1 / 0.004)):
            self.number += 1
            path = self._root / f"f{self._choose.randrange(NAMES)}"
            self._scratch.write_bytes(_content(self.number, self._choose.choice(SIZES)))
            if self._choose.random() < 0.1:
                path.unlink(missing_ok=True)
            os.replace(self._scratch, path)
            if self._choose.random() < 0.1:
                path.chmod(self._choose.choice((0o600, 0o640, 0o644)))

    def end(self) -> None:
        self._pause.set()
        self.join()


class Observer(threading.Thread):
    """Reads A's files all the time: each is whole, and no state is followed by an older one."""

    def __init__(self, root: Path) -> None:
        super().__init__(name="observer")
        self._root = root
        self._last = [0] * NAMES
        self._is_ended = threading.Event()
        self.looks = 0
        self.violations: list[str] = []

    def run(self) -> None:
        while not self._is_ended.wait(0.001):
            for name in range(NAMES):
                try:
                    number = _number((self._root / f"f{name}").read_bytes())
                except FileNotFoundError:
                    continue
                except AssertionError as error:
                    self.violations.append(str(error))
                    continue
                self.looks += 1
                if number < self._last[name]:
                    self.violations.append(f"f{name}: {number} after {self._last[name]}")
                self._last[name] = number

    def end(self) -> None:
        self._is_ended.set()
        self.join()


def _mark(path: Path) -> tuple[int, ...] | None:
    """Return what any change of a file, however short, leaves different."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_mode


def _applies_under_lock(pair: Pair) -> list[str]:
    """Return what Server A said it did to a name between its locking and its unlocking."""
    locked: set[object] = set()
    found = []
    for event in list(pair.server_a.said):
        path = event.get("path")
        if event["event"] == "locked":
            locked.add(path)
        elif event["event"] in {"applied", "unlocked"}:
            locked.discard(path)
        elif event["event"] == "synced" and event["to"] == "a" and path in locked:
            found.append(f"{path} at {event['time']}")
    return found


def _attack(pair: Pair, rounds: int, seed: int) -> int:
    """Lock, watch, unlock, so many times; return how many updates were held and applied."""
    choose = random.Random(seed)
    pause = threading.Event()
    applied, moved = 0, []
    with connect_to(load_settings(str(pair.config))) as server:
        for _ in range(rounds):
            name = f"f{choose.randrange(NAMES)}"
            path = RelPath(name.encode())
            server.ask(LockRequest(path), LockReply)
            before = _mark(pair.a / name)
            pause.wait(choose.expovariate(1 / 0.02))
            after = _mark(pair.a / name)
            if before != after:
                moved.append(f"{name}: {before} became {after}")
            applied += server.ask(UnlockRequest(path), UnlockReply, seconds=60).applied
    assert not moved, (len(moved), moved[:5])
    return applied


def _under_fire(pair: Pair, rounds: int, seed: int) -> None:
    for name in range(NAMES):
        (pair.a / f"f{name}").write_bytes(_content(0, 10))
    pair.start("b", "a")
    writer, observer = Writer(pair.b, pair.home / "scratch", seed), Observer(pair.a)
    writer.start()
    observer.start()
    try:
        applied = _attack(pair, rounds, seed)
    finally:
        writer.end()
    pair.settle()
    observer.end()
    assert not observer.violations, (len(observer.violations), observer.violations[:5])
    assert not _applies_under_lock(pair)
    assert len(pair.server_a.events("locked")) == len(pair.server_a.events("unlocked")) == rounds
    assert applied == len(pair.server_a.events("applied")) == len(pair.server_a.events("queued"))
    assert applied >= rounds / 10, "the locks were tried by what B wrote"


@pytest.mark.faults
def test_nothing_from_b_reaches_a_locked_file(pair: Pair) -> None:
    _under_fire(pair, 30, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 4))
def test_nothing_from_b_reaches_a_locked_file_in_a_thousand_locks(pair: Pair, seed: int) -> None:
    _under_fire(pair, 1_000, seed)
