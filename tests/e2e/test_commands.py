"""`dirsync status`, `wait`, `events`, `history`, `restore`, `check`, `keygen`: what people type and what they get."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.files import moment, put, put_at_once
from tests.e2e.servers import SECONDS_MAX, Pair, wait_until

BIN = Path(sys.executable).parent
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
PRINTED_SECONDS_MAX = 20


@contextmanager
def typed(pair: Pair, name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that goes on; it is ended with the block."""
    process = pair.begin(name, *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """Return the next line a command prints; it must come though nothing follows."""
    assert process.stdout is not None
    fd, line = process.stdout.fileno(), b""
    while not line.endswith(b"\n"):
        # Not by readline(), which may take a second line with the first: nobody could wait for that one any more.
        ready, _, _ = select.select([fd], [], [], PRINTED_SECONDS_MAX)
        assert ready, "it printed nothing"
        if not (byte := os.read(fd, 1)):
            break
        line += byte
    return line.decode()


def failing(pair: Pair, *words: str, status: int = 1) -> str:
    """Run a command that cannot do it, and return the one line it says."""
    result = pair.command(*words, is_ok=False)
    assert result.returncode == status, (words, result.returncode, result.stderr)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(f"{words[0]}: ")
    return result.stderr


# status, wait


def test_status_shows_both_servers(pair: Pair) -> None:
    put(pair.a / "x", "123")
    put(pair.b / "y", "12345")
    pair.start("b", "a")
    lines = pair.command("dirsync", "status").stdout.splitlines()
    assert re.fullmatch(rf"A  ready  127.0.0.1:\d+  2 files  8 B  {re.escape(str(pair.a))}", lines[0]), lines
    assert re.fullmatch(rf"B  ready  127.0.0.1:\d+  2 files  8 B  {re.escape(str(pair.b))}", lines[1]), lines
    assert not any(line.split()[2].endswith(":0") for line in lines[:2]), "the port that was chosen is shown"
    assert lines[2:] == ["connected, in sync"]
    status = json.loads(pair.command("dirsync", "status", "--json").stdout)
    assert (status["connected"], status["in_sync"], status["pending_count"]) == (True, True, 0)
    assert [(s["role"], s["state"], s["files"], s["bytes"]) for s in status["servers"]] == [
        ("a", "ready", 2, 8),
        ("b", "ready", 2, 8),
    ]


def test_status_shows_what_is_not_well(live: Pair) -> None:
    put(live.a / "held", "1")
    live.settle()
    live.lab3("lock", "held")
    put(live.b / "held", "2")
    live.server_a.wait_event("queued")
    live.stop("b")
    live.server_a.wait_event("disconnected")
    put(live.a / "waiting", "1")
    live.server_a.wait_event("detected", path="waiting")
    lines = live.command("dirsync", "status").stdout.splitlines()
    assert lines[1].startswith("B  unreachable")
    assert "not connected, 1 pending" in lines
    assert "pending  waiting  waits for server B" in lines
    assert "locked  held  1 update held" in lines


def test_wait_covers_every_change_made_before_it(shared: Pair) -> None:
    for number in range(12):
        directory = shared.a if number % 2 else shared.b
        put(directory / f"d{number % 7}" / "file", f"{number}")
        assert b"d%d/file" % (number % 7) in shared.settle()


def test_wait_says_what_is_pending(live: Pair) -> None:
    live.stop("b")
    live.server_a.wait_event("disconnected")
    put(live.a / "alone", "1")
    live.server_a.wait_event("detected", path="alone")
    said = failing(live, "dirsync", "wait", "--timeout", "0.2")
    assert said == "dirsync: not in sync after 0.2 s: server B is not connected; alone: waits for server B\n"


def test_wait_names_a_file_that_is_being_written(shared: Pair) -> None:
    stop = signal.SIGKILL
    script = "import os,sys\nwith open(sys.argv[1],'wb',0) as f:\n while True: f.seek(0); f.write(os.urandom(64))"
    writer = subprocess.Popen([sys.executable, "-c", script, shared.b / "restless"])
    try:
        shared.server_b.wait_event("notice", path="restless")
        words = ("dirsync", "wait", "--timeout", "0.3")
        wait_until(lambda: "restless" in failing(shared, *words), "the file is named")
    finally:
        writer.send_signal(stop)
        writer.wait()
    shared.settle()


def test_wait_ignores_held_updates(shared: Pair) -> None:
    put(shared.a / "held", "1")
    shared.settle()
    shared.lab3("lock", "held")
    put(shared.b / "held", "2")
    shared.command("dirsync", "wait", "--timeout", "20")
    assert (shared.a / "held").read_text() == "1"
    shared.lab3("unlock", "held")
    assert shared.settle()[b"held"][1] == b"2"


def test_wait_needs_no_timeout(shared: Pair) -> None:
    put(shared.a / "hurried", "1")
    result = shared.command("dirsync", "wait")
    assert (result.stdout, result.stderr) == ("", "")
    assert (shared.b / "hurried").read_text() == "1"


# events


def test_events_shows_both_servers(shared: Pair) -> None:
    put(shared.b / "told", "1")
    shared.settle()
    everything = [json.loads(line) for line in shared.command("dirsync", "events", "--json").stdout.splitlines()]
    said = [e for e in everything if e.get("path") == "told"]
    assert [(e["role"], e["change"], e["size"]) for e in said if e["event"] == "detected"] == [("b", "added", 1)]
    assert [(e["role"], e["from"], e["to"]) for e in said if e["event"] == "synced"] == [("a", "b", "a")]
    text = shared.command("dirsync", "events").stdout.splitlines()
    assert len(text) == len(everything)
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  A  b → a   added      told   1 B   \S+ ms", line) for line in text)
    assert "\x1b" not in "".join(text)


def test_events_shows_the_last(shared: Pair) -> None:
    for number in range(3):
        put(shared.a / f"last{number}", "1")
        shared.settle()
    everything = shared.command("dirsync", "events", "--json").stdout.splitlines()
    assert shared.command("dirsync", "events", "--json", "--last", "2").stdout.splitlines() == everything[-2:]
    assert shared.command("dirsync", "events", "--last", "0").stdout == ""


def test_events_follow_as_they_happen(shared: Pair) -> None:
    with typed(shared, "dirsync", "events", "--json", "--follow", "--last", "1") as following:
        assert json.loads(next_line(following))["event"]
        put(shared.b / "followed", "1")
        said = []
        while not said or said[-1]["event"] != "in_sync":
            said.append(json.loads(next_line(following)))
        assert [(e["role"], e["event"]) for e in said] == [("b", "detected"), ("a", "synced"), ("a", "in_sync")]
        following.send_signal(signal.SIGINT)
        _, complaints = following.communicate(timeout=SECONDS_MAX)
        assert (following.returncode, complaints.strip()) == (130, "")


def test_a_follower_learns_that_the_server_is_gone(live: Pair) -> None:
    with typed(live, "dirsync", "events", "--follow", "--last", "1") as following:
        next_line(following)
        live.stop("a")
        _, complaints = following.communicate(timeout=SECONDS_MAX)
        assert following.returncode == 1
        assert len(complaints.splitlines()) == 1
        assert "server A" in complaints


def test_a_follower_that_nobody_reads_ends_though_nothing_happens(shared: Pair) -> None:
    with typed(shared, "dirsync", "events", "--follow", "--last", "1") as following:
        next_line(following)
        assert following.stdout
        following.stdout.close()
        assert following.stderr
        assert following.stderr.read() == ""
        assert following.wait(timeout=SECONDS_MAX) == 1


def test_whoever_stops_reading_is_no_error(shared: Pair) -> None:
    for number in range(300):
        put(shared.a / "many" / f"{number:060}", "")
    shared.settle()
    for words in ("lab3", "dirsync events", "dirsync events --follow"):
        shell = f"set -o pipefail; {BIN}/{words} --config {shared.config} | head -1"
        result = subprocess.run(
            ["bash", "-c", shell],
            capture_output=True,
            text=True,
            env=shared.environment,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert len(result.stdout.splitlines()) == 1
        assert result.stderr == "", words


# history, restore


def versions_of(pair: Pair, name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(pair.command("dirsync", "history", name, "--json").stdout)["versions"]
    return found


def test_history_lists_the_newest_first(shared: Pair) -> None:
    for number, size in enumerate((1, 10, 100)):
        put_at_once(shared.a / "aged", "x" * size, at=number)
        shared.settle()
    (shared.a / "aged").unlink()
    shared.settle()
    lines = shared.command("dirsync", "history", "aged").stdout.splitlines()
    assert [re.sub(r"^b\d+", "ID", re.sub(WHEN, "WHEN", line)) for line in lines] == [
        "ID  b  WHEN  100  deleted",
        "ID  b  WHEN   10  replaced",
        "ID  b  WHEN    1  replaced",
    ]
    assert [(v["server"], v["name"], v["size"], v["mtime_ns"], v["why"]) for v in versions_of(shared, "aged")] == [
        ("b", "aged", 100, moment(2), "deleted"),
        ("b", "aged", 10, moment(1), "replaced"),
        ("b", "aged", 1, moment(0), "replaced"),
    ]


def test_history_of_what_has_none(shared: Pair) -> None:
    put(shared.a / "ageless", "1")
    shared.settle()
    result = shared.command("dirsync", "history", "ageless")
    assert (result.stdout, result.stderr) == ("", "dirsync: no versions of ageless are kept\n")


def test_a_deleted_file_comes_back_everywhere(shared: Pair) -> None:
    put(shared.a / "gone" / "x", "precious", at=5, mode=0o640)
    shared.settle()
    (shared.b / "gone" / "x").unlink()
    (shared.b / "gone").rmdir()
    assert b"gone" not in shared.settle()
    result = shared.command("dirsync", "restore", "gone/x")
    assert re.fullmatch(r"restored gone/x from version a\d+\n", result.stdout)
    assert shared.settle()[b"gone/x"] == ("file", b"precious", moment(5), 0o640)


def test_a_named_version_comes_back(shared: Pair) -> None:
    for number, content in enumerate(("one", "two", "three")):
        put_at_once(shared.a / "named", content, at=number)
        shared.settle()
    oldest = str(versions_of(shared, "named")[-1]["id"])
    assert (
        shared.command("dirsync", "restore", "named", "--version", oldest).stdout
        == f"restored named from version {oldest}\n"
    )
    assert shared.settle()[b"named"] == ("file", b"one", moment(0), 0o644)
    kept = [v["size"] for v in versions_of(shared, "named")]
    assert kept.count(5) == 2, "what the restore replaced is kept at both servers"
    shared.command("dirsync", "restore", "named", "--from", "a")
    assert shared.settle()[b"named"][1] == b"three"


def test_the_loser_of_a_conflict_comes_back(live: Pair) -> None:
    put(live.a / "x", "base", at=0)
    live.settle()
    live.stop("b")
    put(live.a / "x", "older", at=1)
    put(live.b / "x", "newest", at=2)
    live.start("b")
    assert live.settle()[b"x"][1] == b"newest"
    kept = live.server_a.wait_event("conflict", path="x")["kept"]
    assert [one["kept"] for one in live.status()["conflicts"]] == [kept]
    found = next(version for version in versions_of(live, "x") if version["id"] == kept)
    assert (found["why"], found["size"]) == ("conflict", 5)
    live.command("dirsync", "restore", "x", "--version", str(kept))
    assert live.settle()[b"x"][1] == b"older"


def test_status_names_a_conflict_until_its_history_was_shown(live: Pair) -> None:
    for name in ("x", "y", "z"):
        put(live.a / name, "base", at=0)
    live.settle()
    live.stop("b")
    put(live.a / "x", "older", at=1)
    put(live.b / "x", "newest", at=2)
    put(live.a / "y", "newest", at=2)
    put(live.b / "y", "older", at=1)
    put(live.a / "z", "newest", at=2)
    put(live.b / "z", "older", at=1)
    live.start("b")
    kept = {name: str(live.server_a.wait_event("conflict", path=name)["kept"]) for name in "xyz"}
    assert [kept[name][0] for name in "xyz"] == ["a", "b", "b"]
    live.kill("a", "b")
    live.start_alone("a")
    status = live.status()
    assert {(c["name"], c["winner"], c["kept"]) for c in status["conflicts"]} == {
        ("x", "b", kept["x"]),
        ("y", "a", kept["y"]),
        ("z", "a", kept["z"]),
    }
    assert status["conflict_count"] == 3
    lines = live.command("dirsync", "status").stdout.splitlines()
    assert f"conflict  x  b won, the other is kept as {kept['x']}" in lines
    live.command("dirsync", "history", "x", is_ok=False)
    live.command("dirsync", "history", "y", is_ok=False)
    assert {c["name"] for c in live.status()["conflicts"]} == {"y", "z"}, "what B keeps was not shown"
    live.start("b")
    shown = versions_of(live, "y")
    assert [(v["id"], v["why"]) for v in shown] == [(kept["y"], "conflict")]
    assert {c["name"] for c in live.status()["conflicts"]} == {"z"}
    live.command("dirsync", "restore", "z", "--version", kept["z"])
    assert live.status()["conflicts"] == []
    live.settle()
    assert live.command("dirsync", "status").stdout.splitlines()[2:] == ["connected, in sync"]
    live.kill("a")
    live.start("a")
    assert live.status()["conflict_count"] == 0
    assert live.settle()[b"z"][1] == b"older"


def test_a_version_is_written_elsewhere(shared: Pair, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    put(shared.b / "copied", content, at=0, mode=0o600)
    shared.settle()
    put(shared.b / "copied", "other", at=1)
    tree = shared.settle()
    output = tmp_path / "output"
    result = shared.command("dirsync", "restore", "copied", "--output", output)
    assert re.fullmatch(rf"wrote version a\d+ of copied to {output}\n", result.stdout)
    assert output.read_bytes() == content
    assert (output.stat().st_mtime_ns, output.stat().st_mode & 0o777) == (moment(0), 0o600)
    assert shared.settle() == tree


def test_what_cannot_be_restored(live: Pair, tmp_path: Path) -> None:
    put(live.a / "x", "1")
    live.settle()
    put(live.a / "x", "2")
    live.settle()
    assert "no kept version of y" in failing(live, "dirsync", "restore", "y")
    assert "no version b9 of x" in failing(live, "dirsync", "restore", "x", "--version", "b9")
    assert "no kept version of x at A" in failing(live, "dirsync", "restore", "x", "--from", "a")
    away = str(tmp_path / "nowhere" / "x")
    assert f"{away} cannot be written" in failing(live, "dirsync", "restore", "x", "--output", away)
    assert "--from" in failing(live, "dirsync", "restore", "x", "--from", "c", status=2)
    live.stop("b")
    live.server_a.wait_event("disconnected")
    assert "server B could not be asked" in failing(live, "dirsync", "restore", "x")
    shown = live.command("dirsync", "history", "x", is_ok=False)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "dirsync: server B cannot be reached: what it keeps is not shown\n"


def test_links_files_of_removed_directories_and_the_far_side_come_back(shared: Pair) -> None:
    (shared.a / "link").symlink_to("first")
    for number in range(3):
        put(shared.a / "tree" / f"d{number}" / "f", f"{number}", at=number)
    put(shared.a / "turns", "at b", at=0)
    shared.settle()
    put(shared.b / "turns", "at a", at=1)
    (shared.b / "link").unlink()
    shutil.rmtree(shared.b / "tree")
    assert shared.settle().keys().isdisjoint({b"link", b"tree"})
    put(shared.a / "turns", "newest", at=2)
    shared.settle()
    shared.command("dirsync", "restore", "link")
    shared.command("dirsync", "restore", "tree/d1/f")
    tree = shared.settle()
    assert tree[b"link"] == ("link", b"first")
    assert {path for path in tree if path.startswith(b"tree")} == {b"tree", b"tree/d1", b"tree/d1/f"}
    assert tree[b"tree/d1/f"][1:3] == (b"1", moment(1))
    shown = versions_of(shared, "turns")
    assert [(v["server"], v["mtime_ns"]) for v in shown] == [("b", moment(1)), ("a", moment(0))]
    assert [v["kept_ns"] for v in shown] == sorted((v["kept_ns"] for v in shown), reverse=True)
    shared.command("dirsync", "restore", "turns", "--from", "a")
    assert shared.settle()[b"turns"][1] == b"at b"
    shared.command("dirsync", "restore", "turns", "--version", str(shown[0]["id"]))
    assert shared.settle()[b"turns"][1] == b"at a"
    (shared.a / "turns").unlink()
    put(shared.a / "turns" / "inside", "a directory now")
    shared.settle()
    said = failing(shared, "dirsync", "restore", "turns")
    assert "turns cannot be restored: the directory is not empty" in said
    assert shared.settle()[b"turns/inside"][1] == b"a directory now"


def test_a_restore_without_b_says_that_b_may_keep_a_newer_version(live: Pair, tmp_path: Path) -> None:
    put(live.a / "x", "oldest", at=0)
    live.settle()
    put(live.b / "x", "kept at b", at=1)
    live.settle()
    put(live.a / "x", "newest", at=2)
    live.settle()
    (at_b,) = (version["id"] for version in versions_of(live, "x") if version["server"] == "b")
    live.stop("b")
    live.server_a.wait_event("disconnected")
    said = "dirsync: server B could not be asked: it may keep a newer version\n"
    output = live.command("dirsync", "restore", "x", "--output", tmp_path / "output")
    assert (output.stderr, (tmp_path / "output").read_text()) == (said, "oldest")
    named = live.command("dirsync", "restore", "x", "--from", "a")
    assert (named.stderr, (live.a / "x").read_text()) == ("", "oldest")
    newest = live.command("dirsync", "restore", "x")
    assert (newest.stderr, (live.a / "x").read_text()) == (said, "newest")
    assert "server B could not be asked" in failing(live, "dirsync", "restore", "x", "--version", str(at_b))


# check, keygen, help, and being wrong


def test_check_says_what_is_well(live: Pair) -> None:
    lines = live.command("dirsync", "check").stdout.splitlines()
    assert all(line.startswith("ok       ") for line in lines), lines
    assert "ok       server B is connected to server A" in lines


def test_check_says_what_is_not(live: Pair) -> None:
    live.stop("b")
    live.server_a.wait_event("disconnected")
    live.b.rmdir()
    live.state.joinpath("key.pem").chmod(0o644)
    result = live.command("dirsync", "check", is_ok=False)
    problems = [line for line in result.stdout.splitlines() if line.startswith("problem  ")]
    assert result.returncode == 1
    assert any("[b] directory: expected an existing directory" in line for line in problems), problems
    assert any("chmod 600" in line for line in problems), problems
    live.state.joinpath("key.pem").chmod(0o600)
    result = live.command("dirsync", "check", is_ok=False)
    assert "problem  server B is not connected to server A; start it with `dirsync serve --role b`" in result.stdout
    live.b.mkdir()


def test_keygen_makes_the_credential_once(pair: Pair) -> None:
    key = pair.state / "key.pem"
    assert pair.command("dirsync", "keygen").stdout.startswith(f"made {key}: ")
    assert key.stat().st_mode & 0o777 == 0o600
    content = key.read_bytes()
    assert f"{key} is there already" in failing(pair, "dirsync", "keygen")
    assert key.read_bytes() == content
    pair.start("b", "a")


@pytest.mark.parametrize(
    "words", [("dirsync",), ("lab3",), ("dirsync", "serve"), ("lab3", "lock"), ("dirsync", "wait")]
)
def test_help_is_on_standard_output(words: tuple[str, ...]) -> None:
    result = subprocess.run([BIN / words[0], *words[1:], "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["dirsync", "lab3"])
def test_version(name: str) -> None:
    result = subprocess.run([BIN / name, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize(("name", "shell"), [("dirsync", "bash"), ("lab3", "zsh"), ("lab3", "fish")])
def test_completion_for_each_shell(name: str, shell: str) -> None:
    environment = os.environ | {f"_{name.upper()}_COMPLETE": f"{shell}_source"}
    result = subprocess.run([BIN / name], capture_output=True, text=True, env=environment, check=True)
    assert name in result.stdout
    assert result.stderr == ""


def test_completion_of_a_word() -> None:
    environment = os.environ | {"_LAB3_COMPLETE": "bash_complete", "COMP_WORDS": "lab3 lo", "COMP_CWORD": "1"}
    result = subprocess.run([BIN / "lab3"], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.split() == ["plain,lock", "plain,locks"]


@pytest.mark.parametrize(
    "words",
    [
        ("dirsync", "nonsense"),
        ("dirsync", "wait", "--timeout", "soon"),
        ("dirsync", "wait", "--timeout", "-1"),
        ("dirsync", "events", "--last", "-1"),
        ("dirsync", "history"),
        ("dirsync", "serve"),
        ("dirsync", "serve", "--role", "c"),
        ("lab3", "nonsense"),
        ("lab3", "lock"),
        ("lab3", "-lock", "3"),
        ("lab3", "-unlock", "-x"),
        ("lab3", "--nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(pair: Pair, words: tuple[str, ...]) -> None:
    assert failing(pair, *words, status=2)


@pytest.mark.parametrize("name", ["no such", "../x", "/etc/passwd", ""])
def test_names_that_are_none(shared: Pair, name: str) -> None:
    failing(shared, "lab3", "lock", name)
    failing(shared, "lab3", "unlock", name)


def test_debug_shows_where(pair: Pair) -> None:
    pair.command("dirsync", "keygen")
    result = subprocess.run(
        [BIN / "dirsync", "status", "--debug", "--config", pair.config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("dirsync: server A")
