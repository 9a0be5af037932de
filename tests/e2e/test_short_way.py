"""Commands that take the short way print, to the byte and with its status, what the ordinary way prints."""

import os
import threading
import time
from pathlib import Path

import pytest

from dirsync.cli.quick import quickly
from dirsync.client.quick import Printed, ask_printed
from dirsync.client.way import Way, note_way
from dirsync.wire.shortway import SOCKET_NAME
from tests.e2e.files import put
from tests.e2e.servers import Pair

CLIENTS = 100
SECONDS_MAX = 60.0


@pytest.fixture
def way(both: Pair, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Take the environment of a command, and note the way there as any command does when the configuration is old."""
    both.lab3()
    (listing,) = (Path(both.environment["XDG_CACHE_HOME"]) / "dirsync").glob("*.listing")
    for name in ("TZ", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, both.environment[name])
    now = time.time()
    monkeypatch.setattr("dirsync.client.way.time.time", lambda: now + 3600)
    made = Way(str(both.state / "a" / SOCKET_NAME), str(both.state / "key.pem"), listing.stem)
    note_way(str(both.config), made)
    monkeypatch.setattr("dirsync.cli.quick._out_descriptor", lambda: 1)
    # The commands of the pair know no way but the ordinary one.
    monkeypatch.setitem(both.environment, "XDG_CACHE_HOME", str(both.home / "another cache"))
    return made


LINES = [
    ["lab3"],
    ["lab3", "ls", "--json"],
    ["lab3", "ls", "--long"],
    ["lab3", "--json", "--long"],
    ["lab3", "-lock", "-0"],
    ["lab3", "lock", "x\ny"],
    ["lab3", "lock", "nowhere"],
    ["lab3", "unlock", "nowhere"],
    ["lab3", "locks"],
    ["lab3", "locks", "--json"],
    ["dirsync", "status"],
    ["dirsync", "status", "--json"],
]


def test_both_ways_print_the_same(both: Pair, way: Way, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    put(both.a / "x\ny", "1", at=0)
    put(both.b / os.fsdecode(b"\xff"), "22", at=1)
    assert len(both.settle()) == 2
    both.lab3("lock", "x\ny")
    try:
        for words in LINES:
            ordinary = both.command(*words, is_ok=None)
            status = quickly(words[0], [*words[1:], "--config", str(both.config)])
            out, err = capfdbinary.readouterr()
            assert status == ordinary.returncode, words
            assert out == ordinary.stdout.encode("utf-8", "surrogateescape")
            assert err.decode().splitlines() == ordinary.stderr.splitlines()
        assert quickly("lab3", ["lock", "../x", "--config", str(both.config)]) is None
    finally:
        assert quickly("lab3", ["unlock", "x\ny", "--config", str(both.config)]) == 0
    assert capfdbinary.readouterr().out == b"unlocked x\\ny: 0 updates applied\n"


def test_a_hundred_clients_at_once_are_answered(both: Pair, way: Way) -> None:
    put(both.a / "x", "1", at=0)
    assert len(both.settle()) == 1
    answers: list[Printed | None] = []
    clients = [
        threading.Thread(target=lambda: answers.append(ask_printed(way, [b"ls", b"--json"], is_patient=False)))
        for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(SECONDS_MAX)
    assert len(answers) == CLIENTS
    assert {b"".join(answer.out) for answer in answers if answer is not None} == {both.lab3("ls", "--json").encode()}
    assert None not in answers


def test_times_are_the_readers_not_the_servers(both: Pair, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert ask_printed(way, [b"ls"], is_patient=False) is None
