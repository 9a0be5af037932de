"""The notifications as programs read them: every event, by the right server, once, with exactly its fields in order."""

import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.files import put, put_at_once
from tests.e2e.servers import Pair, Said, Server, wait_until

FIELDS = {
    "ready": {"listen": str, "directory": str, "files": int},
    "connected": {"peer": str, "reason": str},
    "disconnected": {"peer": str, "reason": str},
    "reconciling": {"files": int},
    "in_sync": {"files": int, "ms": float},
    "detected": {"path": str, "change": str, "size": int},
    "synced": {"path": str, "change": str, "from": str, "to": str, "size": int, "sent": int, "ms": float},
    "conflict": {"path": str, "winner": str, "kept": str},
    "locked": {"path": str, "applied": int},
    "unlocked": {"path": str, "applied": int},
    "queued": {"path": str, "change": str, "size": int, "depth": int},
    "applied": {"path": str, "change": str, "size": int, "remaining": int},
    "progress": {"path": str, "done": int, "size": int},
    "skipped": {"path": str, "reason": str},
    "notice": {"reason": str},
    "paused": {"reason": str},
    "resumed": {"reason": str},
    "error": {"path": str, "reason": str},
}
CHANGES = {"added", "modified", "deleted", "metadata", "renamed"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
LARGE = 24_000_000
SLOW_BYTES_PER_SECOND = 8_000_000


def check_form(said: Said, role: str) -> None:
    """See that an event has its fields, all of them and no others, in their order and of their types."""
    name = str(said["event"])
    expected = dict(FIELDS[name])
    if said.get("change") == "renamed" and name == "synced":
        expected = {"path": str, "change": str, "old_path": str} | {k: v for k, v in expected.items() if k != "path"}
        expected = {"path": str, "change": str, "old_path": str, **expected}
    if name == "notice" and "path" in said:
        expected = {"path": str, "reason": str}
    assert list(said) == ["time", "role", "event", *expected], said
    for field, kind in expected.items():
        value = said[field]
        assert isinstance(value, int | float if kind is float else kind), (field, said)
        assert not isinstance(value, bool)
    assert re.fullmatch(TIME, str(said["time"]))
    assert said["role"] == role
    assert said.get("change", "added") in CHANGES
    for field in ("from", "to", "winner", "peer"):
        assert said.get(field, "a") in ("a", "b"), said


def check_forms(*servers: Server) -> None:
    for server in servers:
        for said in server.said:
            check_form(said, server.role)
        times = [str(said["time"]) for said in server.said]
        assert times == sorted(times)


def names(server: Server, since: int = 0) -> list[str]:
    return [str(said["event"]) for said in server.said[since:]]


def test_a_start_is_said_in_order(pair: Pair) -> None:
    put(pair.a / "x", "1")
    put(pair.a / "d" / "y", "1")
    put(pair.b / "z", "1")
    pair.start_alone("b")
    pair.start("a")
    a, b = pair.server_a, pair.server_b
    assert names(b) == ["ready", "connected"]
    # On a busy machine they can have met, and B can be compared, before A has read its own directory.
    assert sorted(names(a)[:2]) == ["connected", "ready"]
    assert names(a)[2:] == ["reconciling", "synced", "synced", "synced", "synced", "in_sync"]
    ready = a.events("ready")[0]
    assert (ready["directory"], ready["files"]) == (str(pair.a), 2)
    assert b.events("ready")[0]["files"] == 1
    assert a.events("reconciling")[0]["files"] in (0, 1, 2)
    assert a.events("in_sync")[0]["files"] == 3
    check_forms(a, b)


@pytest.mark.parametrize("source", ["a", "b"])
def test_each_change_is_said_once_by_the_right_server(shared: Pair, source: str) -> None:
    target = "b" if source == "a" else "a"
    directory = shared.a if source == "a" else shared.b
    file = directory / f"from {source}"
    steps = [
        (lambda: put_at_once(file, f"{source}123", at=0), "added", 4, 4),
        (lambda: put_at_once(file, f"{source}12345", at=1), "modified", 6, 6),
        (lambda: file.chmod(0o600), "metadata", 6, 0),
        (file.unlink, "deleted", 0, 0),
    ]
    for act, change, size, sent in steps:
        before_a, before_b = len(shared.server_a.said), len(shared.server_b.said)
        before = len(shared.server_a.events("in_sync"))
        act()
        shared.settle()
        # What was said may still be on its way to us.
        (shared.server_a if source == "a" else shared.server_b).wait_event("detected", path=file.name, change=change)
        shared.server_a.wait_event("in_sync", before + 1)
        said_a, said_b = shared.server_a.said[before_a:], shared.server_b.said[before_b:]
        detected = said_a[0] if source == "a" else said_b[0]
        assert {k: detected[k] for k in ("event", "role", "path", "change", "size")} == {
            "event": "detected",
            "role": source,
            "path": file.name,
            "change": change,
            "size": size,
        }
        expected = ["synced", "in_sync"]
        assert names(shared.server_a, before_a) == (["detected", *expected] if source == "a" else expected)
        assert names(shared.server_b, before_b) == ([] if source == "a" else ["detected"])
        synced = said_a[-2]
        assert (synced["change"], synced["from"], synced["to"], synced["size"]) == (change, source, target, size)
        assert synced["sent"] == sent
        assert 0 < float(str(synced["ms"])) < 30_000
    check_forms(shared.server_a, shared.server_b)


def test_a_rename_is_said_as_one(shared: Pair) -> None:
    put(shared.a / "old", "x" * 100_000)
    shared.settle()
    (shared.a / "old").rename(shared.a / "new")
    shared.settle()
    said = shared.server_a.wait_event("synced", change="renamed")
    assert (said["path"], said["old_path"], said["size"], said["sent"]) == ("new", "old", 100_000, 0)
    assert shared.server_a.events("synced", path="old", change="deleted") == []
    check_forms(shared.server_a, shared.server_b)


def test_ms_counts_from_this_change_and_not_from_an_older_one(shared: Pair) -> None:
    put(shared.a / "timed", "1")
    shared.settle()
    shared.lab3("lock", "timed")
    put_at_once(shared.b / "timed", "2", at=1)
    shared.server_a.wait_event("queued", path="timed")
    held_at = time.monotonic()
    shared.lab3("unlock", "timed")
    shared.settle()
    while time.monotonic() < held_at + 1.0:
        shared.rows()
    (shared.a / "timed").unlink()
    shared.settle()
    assert float(str(shared.server_a.wait_event("synced", path="timed", change="deleted")["ms"])) < 900


def test_a_lock_and_its_queue(shared: Pair) -> None:
    put(shared.a / "locked", "1")
    shared.settle()
    before = len(shared.server_a.said)
    shared.lab3("lock", "locked")
    for number, content in enumerate(("l2", "l33"), 1):
        put_at_once(shared.b / "locked", content, at=number)
        shared.server_a.wait_event("queued", path="locked", depth=number)
    shared.lab3("unlock", "locked")
    said = [e for e in shared.server_a.said[before:] if e.get("path") == "locked"]
    found = [tuple(e[k] for k in ("event", *FIELDS[str(e["event"])])) for e in said]
    assert found == [
        ("locked", "locked", 0),
        ("queued", "locked", "modified", 2, 1),
        ("queued", "locked", "modified", 3, 2),
        ("applied", "locked", "modified", 2, 1),
        ("applied", "locked", "modified", 3, 0),
        ("unlocked", "locked", 2),
    ]
    assert {e["event"] for e in shared.server_b.said if e.get("path") == "locked"} == {"detected"}
    check_forms(shared.server_a, shared.server_b)


def test_a_conflict(live: Pair) -> None:
    put(live.a / "x", "0", at=0)
    live.settle()
    live.stop("b")
    put(live.a / "x", "newest", at=9)
    put(live.b / "x", "older", at=5)
    live.start("b")
    assert len(live.server_a.events("conflict")) == 1
    said = live.server_a.events("conflict", path="x", winner="a")[0]
    assert re.fullmatch(r"b\d+", str(said["kept"]))
    check_forms(live.server_a, live.server_b)


def test_what_is_skipped(shared: Pair) -> None:
    os.mkfifo(shared.b / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(shared.b / "socket"))
        assert shared.server_b.wait_event("skipped", path="pipe")["reason"]
        assert shared.server_b.wait_event("skipped", path="socket")["reason"]
    put(shared.b / "x", "1")
    shared.command("dirsync", "wait", "--timeout", "20")
    assert {e["path"] for e in shared.server_b.events("skipped")} == {"pipe", "socket"}
    assert shared.server_a.events("skipped") == []
    for name in ("pipe", "socket"):
        (shared.b / name).unlink()
    check_forms(shared.server_a, shared.server_b)


def test_a_file_that_waits_for_its_writer_is_a_notice(shared: Pair) -> None:
    script = "import os,sys\nwith open(sys.argv[1],'wb',0) as f:\n while True: f.seek(0); f.write(os.urandom(64))"
    writer = subprocess.Popen([sys.executable, "-c", script, shared.b / "restless"])
    try:
        assert "writ" in str(shared.server_b.wait_event("notice", path="restless")["reason"])
    finally:
        writer.kill()
        writer.wait()
    shared.settle()
    check_forms(shared.server_a, shared.server_b)


def test_a_lost_root(live: Pair) -> None:
    put(live.b / "x", "1")
    live.settle()
    away = live.home / "away"
    live.b.rename(away)
    live.server_b.wait_event("paused")
    away.rename(live.b)
    live.server_b.wait_event("resumed")
    live.settle()
    assert (live.b / "x").exists()
    assert len(live.server_b.events("paused")) == len(live.server_b.events("resumed")) == 1
    check_forms(live.server_a, live.server_b)


def test_an_error_and_its_end(live: Pair) -> None:
    pid = live.server_b.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000_000, before[1]))
    put(live.a / "large", os.urandom(1_000_000) * 24)
    said = live.server_a.wait_event("error", path="large")
    assert said["reason"]
    assert "large" in live.command("dirsync", "status").stdout.splitlines()[-1]
    put(live.a / "small", "1")
    live.server_a.wait_event("synced", path="small")
    assert len(live.server_a.events("error")) == 1, "one reason is said once, however often it is tried again"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    live.settle()
    check_forms(live.server_a, live.server_b)


class SlowWay:
    """A way to a server that lets only so many bytes a second pass towards it."""

    def __init__(self, target: tuple[str, int], bytes_per_second: int) -> None:
        self._target = target
        self._rate = bytes_per_second
        self._door = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            threading.Thread(target=self._pass_on, args=(near, far, self._rate), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, 0), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, rate: int) -> None:
        pause = threading.Event()
        try:
            while data := source.recv(65536):
                target.sendall(data)
                if rate:
                    pause.wait(len(data) / rate)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def close(self) -> None:
        self._door.close()


def test_a_transfer_that_lasts_says_how_far_it_is(pair: Pair) -> None:
    pair.start_alone("b")
    host, port = str(pair.server_b.events("ready")[0]["listen"]).split(":")
    way = SlowWay((host, int(port)), SLOW_BYTES_PER_SECOND)
    text = pair.config.read_text()
    pair.config.write_text(text.replace("[state]", f'connect = "{way.place}"\n[state]'))
    pair.start("a")
    put(pair.a / "large", os.urandom(LARGE))
    pair.settle()
    said = pair.server_a.events("progress", path="large")
    assert said, "nothing was said of a transfer of three seconds"
    assert {e["size"] for e in said} == {LARGE}
    done = [int(str(e["done"])) for e in said]
    assert done == sorted(set(done))
    assert 0 < done[-1] <= LARGE
    took = float(str(pair.server_a.wait_event("synced", path="large")["ms"])) / 1000
    assert len(said) <= 2 * took
    check_forms(pair.server_a, pair.server_b)
    pair.stop("a", "b")
    way.close()


def test_names_survive_json(shared: Pair) -> None:
    name = b"\xff\n\xc3\xa4"
    Path(os.fsdecode(os.path.join(os.fsencode(shared.a), name))).write_bytes(b"1")
    shared.settle()
    for event in ("detected", "synced"):
        assert name in {os.fsencode(str(e["path"])) for e in shared.server_a.events(event)}


def test_paths_in_directories(shared: Pair) -> None:
    put(shared.b / "d" / "e" / "x", "1")
    shared.settle()
    assert {e["path"] for e in shared.server_a.events("synced")} >= {"d", "d/e", "d/e/x"}
    wait_until((shared.a / "d" / "e" / "x").exists, "the file")
    check_forms(shared.server_a, shared.server_b)
