"""Servers as processes: starting in any order, ending in time, coming back, a configuration that is wrong."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.servers import SECONDS_MAX, Pair, Server, wait_until
from tests.e2e.test_commands import next_line, typed

BIN = Path(sys.executable).parent
STOP_SECONDS_MAX = 2.0


def ended_in_time(server: Server, number: int = signal.SIGTERM) -> None:
    """Tell a server to stop and see that it does, cleanly, within the promised time."""
    began = time.monotonic()
    status = server.stop(number)
    seconds = time.monotonic() - began
    assert status == 0, server.complaints
    assert seconds < STOP_SECONDS_MAX
    assert server.complaints == []


def refused(pair: Pair, role: str = "a", status: int = 2) -> str:
    """Start a server that cannot be started, and return the one line it says."""
    result = subprocess.run(
        [BIN / "dirsync", "serve", "--role", role, "--config", pair.config],
        capture_output=True,
        text=True,
        env=pair.environment,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert result.returncode == status, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("dirsync: ")
    return result.stderr.removeprefix("dirsync: ").rstrip("\n")


# Starting


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_servers_start_in_any_order(pair: Pair, order: str) -> None:
    put(pair.a / "x", "1")
    put(pair.b / "y", "2")
    pair.start(order[0])
    pair.start(order[1])
    assert set(pair.settle()) == {b"x", b"y"}
    assert pair.server_a.events("connected")[0]["peer"] == "b"
    assert pair.server_b.events("connected")[0]["peer"] == "a"


def test_the_chosen_port_is_where_others_find_it(pair: Pair) -> None:
    pair.start("b", "a")
    for server in (pair.server_a, pair.server_b):
        listen = str(server.events("ready")[0]["listen"])
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", listen)
        assert (pair.state / server.role / "address").read_text() == f"{listen}\n"
        host, port = listen.split(":")
        socket.create_connection((host, int(port)), 5).close()


def test_a_second_server_on_the_same_state_is_refused(live: Pair) -> None:
    for role in ("a", "b"):
        said = refused(live, role, status=1)
        assert str(live.state / role) in said
        assert said.startswith("another server is running on this state directory")
    put(live.a / "x", "1")
    live.settle()


def test_a_port_in_use(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        pair.config.write_text(pair.config.read_text().replace("127.0.0.1:0", address, 1))
        assert refused(pair, "a", status=1) == f"cannot listen at {address}: Address already in use"


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_servers_end_when_told(live: Pair, number: int) -> None:
    with typed(live, "dirsync", "events", "--follow", "--last", "1") as following:
        next_line(following)
        for role in ("a", "b"):
            ended_in_time(live.running.pop(role), number)


def test_a_server_alone_ends_when_told(pair: Pair) -> None:
    pair.start("b")
    ended_in_time(pair.running.pop("b"))
    pair.start("a")
    ended_in_time(pair.running.pop("a"))


def test_servers_end_while_they_transfer(live: Pair) -> None:
    block = os.urandom(1_000_000)
    for number in range(40):
        put(live.a / f"large{number}", block * 8 + bytes([number]))
        put(live.a / f"small{number}", f"{number}")
    live.server_a.wait_event("detected", count=5)
    ended_in_time(live.running.pop("b"))
    live.server_a.wait_event("disconnected")
    live.start("b")
    put(live.b / "more", block * 9)
    live.server_b.wait_event("detected", path="more")
    ended_in_time(live.running.pop("a"))
    live.start("a")
    assert len(live.settle()) == 81


def test_a_server_ends_though_the_other_hangs(live: Pair) -> None:
    live.server_b.process.send_signal(signal.SIGSTOP)
    put(live.a / "x", "1")
    live.server_a.wait_event("detected", path="x")
    with typed(live, "dirsync", "wait") as waiting:
        wait_until(lambda: "1 pending" in live.command("dirsync", "status").stdout, "the change to be known")
        ended_in_time(live.running.pop("a"))
        _, complaints = waiting.communicate(timeout=SECONDS_MAX)
        assert waiting.returncode == 1
        assert len(complaints.splitlines()) == 1
        assert "server A" in complaints
    live.server_b.process.send_signal(signal.SIGCONT)
    live.start("a")
    assert set(live.settle()) == {b"x"}


def test_told_again_and_again(live: Pair) -> None:
    server = live.running.pop("a")
    while server.process.poll() is None:
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)
    assert (server.wait_end(), server.complaints) == (0, [])


def test_stopped_while_starting(pair: Pair) -> None:
    for number in range(3000):
        put(pair.a / f"{number}", f"{number}")
    server = Server("a", pair.config, pair.environment)
    wait_until((pair.state / "a").exists, "the state of the server that starts")
    ended_in_time(server)


def test_a_clean_end_says_nothing_alarming(live: Pair) -> None:
    server_a, server_b = live.server_a, live.server_b
    live.stop("a", "b")
    for server in (server_a, server_b):
        assert [e["event"] for e in server.said if e["event"] in ("error", "notice", "paused", "conflict")] == []
        assert [e["event"] for e in server.said][-1] == "disconnected"
        assert len(server.events("disconnected")) == 1


def test_idle_servers_say_nothing(pair: Pair) -> None:
    put(pair.a / "x", "1")
    pair.start("b", "a")
    for server in (pair.server_a, pair.server_b):
        server.wait_event("ready")
    pair.server_a.wait_event("in_sync")
    said = (len(pair.server_a.said), len(pair.server_b.said))
    for _ in range(3):
        pair.lab3()
        pair.command("dirsync", "status")
        pair.settle()
    assert (len(pair.server_a.said), len(pair.server_b.said)) == said


# Coming back


def test_b_goes_and_comes_back(live: Pair) -> None:
    live.stop("b")
    assert live.server_a.wait_event("disconnected")["peer"] == "b"
    put(live.a / "x", "1")
    put(live.b / "y", "1")
    live.start("b")
    live.server_a.wait_event("connected", count=2)
    assert set(live.settle()) == {b"x", b"y"}


def test_a_goes_and_comes_back(live: Pair) -> None:
    live.kill("a")
    assert live.server_b.wait_event("disconnected")["peer"] == "a"
    put(live.b / "y", "1")
    live.start("a")
    live.server_b.wait_event("connected", count=2)
    assert set(live.settle()) == {b"y"}


def test_silence_is_noticed(live: Pair) -> None:
    live.server_b.process.send_signal(signal.SIGSTOP)
    said = live.server_a.wait_event("disconnected")
    assert "nothing was heard" in str(said["reason"])
    put(live.a / "x", "1")
    live.server_a.wait_event("detected", path="x")
    live.server_b.process.send_signal(signal.SIGCONT)
    live.server_a.wait_event("connected", count=2)
    assert set(live.settle()) == {b"x"}


# Standard output


def test_output_that_nobody_reads_stops_nothing(pair: Pair) -> None:
    reader, writer = os.pipe()
    server = subprocess.Popen(
        [BIN / "dirsync", "serve", "--role", "b", "--config", pair.config],
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=pair.environment,
    )
    os.close(writer)
    try:
        pair.start("a")
        pair.server_a.wait_event("connected")
        for number in range(2000):
            put(pair.b / f"{number:0200}", "")
        assert len(pair.settle()) == 2000
        os.close(reader)
        put(pair.b / "more", "1")
        assert len(pair.settle()) == 2001
    finally:
        server.terminate()
        assert server.wait(SECONDS_MAX) == 0


@pytest.mark.parametrize("shell", [">&-", ">/dev/full", ">&- 2>&- <&-"])
def test_output_that_is_closed_or_full_stops_nothing(pair: Pair, shell: str) -> None:
    server = subprocess.Popen(
        ["bash", "-c", f"exec {BIN}/dirsync serve --role b --config {pair.config} {shell}"],
        stderr=subprocess.PIPE,
        env=pair.environment,
    )
    try:
        pair.start("a")
        pair.server_a.wait_event("connected")
        put(pair.b / "x", "1")
        pair.settle()
    finally:
        server.terminate()
        _, complaints = server.communicate(timeout=SECONDS_MAX)
    assert (server.returncode, complaints) == (0, b"")


def test_quiet_is_quiet(pair: Pair) -> None:
    server = subprocess.Popen(
        [BIN / "dirsync", "serve", "--role", "b", "--quiet", "--config", pair.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=pair.environment,
    )
    pair.start("a")
    pair.server_a.wait_event("connected")
    server.terminate()
    printed, _ = server.communicate(timeout=SECONDS_MAX)
    assert (server.returncode, printed) == (0, b"")


def test_text_lines_are_for_people(pair: Pair) -> None:
    server = subprocess.Popen(
        [BIN / "dirsync", "serve", "--role", "b", "--config", pair.config],
        stdout=subprocess.PIPE,
        text=True,
        env=pair.environment,
    )
    put(pair.b / "x", "12")
    pair.start("a")
    pair.server_a.wait_event("in_sync")
    put(pair.b / "y", "1234")
    pair.server_a.wait_event("synced", path="y")
    server.terminate()
    printed, _ = server.communicate(timeout=SECONDS_MAX)
    lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d{3}", "TIME", line) for line in printed.splitlines()]
    assert re.fullmatch(rf"TIME  B          ready      127\.0\.0\.1:\d+   {re.escape(str(pair.b))}   1 file", lines[0])
    assert lines[1] == "TIME  B          connected   a   Server A came"
    assert lines[2] == "TIME  B          detected   y   added   4 B"
    assert lines[3].startswith("TIME  B          disconnected   a   ")
    assert len(lines) == 4


# Both in one terminal


def both(pair: Pair, **streams: int) -> subprocess.Popen[str]:
    """Run both servers as `make run` does."""
    return subprocess.Popen(
        [sys.executable, "-m", "dirsync.run.both"],
        text=True,
        env=pair.environment | {"DIRSYNC_CONFIG": str(pair.config)},
        start_new_session=True,
        **streams,
    )


def test_both_servers_in_one_terminal(pair: Pair) -> None:
    put(pair.a / "x", "1")
    running = both(pair, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    lines = []
    while not any("in_sync" in line for line in lines):
        lines.append(running.stdout.readline())
    assert {line.split()[1] for line in lines} == {"A", "B"}
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    os.killpg(running.pid, signal.SIGINT)
    _, complaints = running.communicate(timeout=SECONDS_MAX)
    assert (running.returncode, complaints) == (0, "")
    assert time.monotonic() - began < STOP_SECONDS_MAX
    assert (pair.b / "x").exists()


def test_when_one_of_both_cannot_start_neither_stays(pair: Pair) -> None:
    pair.b.rmdir()
    running = both(pair, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed, _ = running.communicate(timeout=SECONDS_MAX)
    assert running.returncode == 2
    complaints = [line for line in printed.splitlines() if "[b] directory: expected an existing directory" in line]
    assert len(complaints) == 1
    assert complaints[0].startswith("B  dirsync: ")


# Configuration


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[state]", "[stat]", "stat: unknown section or key; expected one of: "),
        ('directory = "state"', 'directroy = "state"', "[state] directroy: unknown key; expected one of: directory"),
        ('directory = "directory_a"', "directory = 3", "[a] directory: expected a path, "),
        ('directory = "directory_a"\n', "", "[a] directory: missing; expected a path"),
        ('directory = "directory_a"', 'directory = "gone"', "[a] directory: expected an existing directory, not "),
        ('directory = "directory_a"', 'directory = "config.toml"', "[a] directory: expected a directory, not "),
        (
            'directory = "directory_a"',
            'directory = "directory_b"',
            "expected two directories, neither inside",
        ),
        ('directory = "directory_a"', 'directory = "."', "expected two directories, neither inside"),
        ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1"', '[a] listen: expected "host:port", such as '),
        ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:70000"', '[a] listen: expected "host:port", such as '),
        ('"state"', '"directory_b/state"', "[state] directory: expected a place outside "),
        ("[security]", "[locks]\nmax_size = true\n[security]", "[locks] max_size: expected a size, such as "),
        ("[security]", "[versions]\nkeep_days = -1\n[security]", "[versions] keep_days: expected a number of days"),
        ("[security]", "[sync]\nignore = 'x'\n[security]", "[sync] ignore: expected a list of texts"),
        ("[state]", "[state", "not TOML: "),
    ],
)
def test_a_configuration_that_is_wrong(pair: Pair, old: str, new: str, expected: str) -> None:
    text = pair.config.read_text()
    assert old in text
    pair.config.write_text(text.replace(old, new, 1))
    said = refused(pair)
    assert said.startswith(f"{pair.config}: ")
    assert expected in said


def test_a_configuration_that_cannot_be_read(pair: Pair) -> None:
    pair.config.unlink()
    assert refused(pair).startswith(f"{pair.config}: cannot be read: No such file or directory")
    pair.config.mkdir()
    assert refused(pair).startswith(f"{pair.config}: cannot be read: Is a directory")
    pair.config.rmdir()
    pair.config.write_bytes(b"\xff\xfe")
    assert refused(pair).startswith(f"{pair.config}: expected text in UTF-8")


def test_each_role_checks_its_own_directory(pair: Pair) -> None:
    pair.a.rmdir()
    pair.start("b")
    assert "[a] directory" in refused(pair, "a")
    pair.a.mkdir()
    pair.start("a")


def test_the_configuration_is_found_where_it_is_promised(live: Pair) -> None:
    environment = live.environment | {"DIRSYNC_CONFIG": str(live.config)}
    away = live.home / "elsewhere"
    away.mkdir()
    for where, variables in ((away, environment), (live.home, live.environment)):
        result = subprocess.run([BIN / "lab3"], cwd=where, env=variables, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")
    alone = live.environment | {"XDG_CONFIG_HOME": str(live.home / "xdg")}
    result = subprocess.run([BIN / "lab3"], cwd=away, env=alone, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "no configuration" in result.stderr
    folder = live.home / "xdg" / "dirsync"
    folder.mkdir(parents=True)
    text = live.config.read_text()
    for name in ("directory_a", "directory_b", "state"):
        text = text.replace(f'"{name}', f'"{live.home}/{name}')
    (folder / "config.toml").write_text(text)
    result = subprocess.run([BIN / "lab3"], cwd=away, env=alone, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
