"""`lab3 ls` against real servers: what it shows of both directories, and what it does when one cannot be asked."""

import json
import os
import signal
import time
from pathlib import Path

from tests.e2e.files import moment, put, put_at_once
from tests.e2e.servers import Pair

DAY = "2020-09-13"
LISTING_SECONDS_MAX = 4.0
"""B is waited for 2 s; the rest is the start of a command on a busy machine."""


def test_nothing_is_shown_of_nothing(live: Pair) -> None:
    assert live.lab3() == ""
    assert live.command("lab3", "ls", "--json").stdout == '{"files": [], "unreachable": []}\n'


def test_one_line_per_file_or_link_of_both_directories_by_name(pair: Pair) -> None:
    put(pair.a / "notes" / "b.txt", "12345", at=0)
    put(pair.a / "Z.txt", "x" * 1000, at=1)
    put(pair.b / "a.txt", "", at=2)
    (pair.b / "link").symlink_to("a.txt")
    os.utime(pair.b / "link", ns=(moment(3), moment(3)), follow_symlinks=False)
    (pair.b / "empty").mkdir()
    pair.start("b", "a")
    assert pair.lab3() == (
        f"0  1000  {DAY} 12:26:41  Z.txt\n"
        f"1     0  {DAY} 12:26:42  a.txt\n"
        f"2     5  {DAY} 12:26:43  link\n"
        f"3     5  {DAY} 12:26:40  notes/b.txt\n"
    )
    assert pair.lab3("ls") == pair.lab3()


def test_local_time_is_the_readers(pair: Pair) -> None:
    put(pair.a / "x", "", at=0)
    pair.start("b", "a")
    pair.environment["TZ"] = "Asia/Tokyo"
    assert pair.lab3() == f"0  0  {DAY} 21:26:40  x\n"


def test_json_has_every_field_in_the_order_of_the_contract(pair: Pair) -> None:
    put(pair.a / "x", "123", at=0)
    put(pair.a / "y", "1", at=1)
    pair.start("b", "a")
    pair.lab3("lock", "y")
    put_at_once(pair.b / "y", "22", at=2)
    pair.server_a.wait_event("queued", path="y")
    listing = pair.lab3("ls", "--json")
    assert listing == (
        f'{{"files": [{{"index": 0, "name": "x", "size": 3, "mtime_ns": {moment(0)}, "servers": ["a", "b"], '
        f'"locked": false, "queued": 0}}, {{"index": 1, "name": "y", "size": 1, "mtime_ns": {moment(1)}, '
        '"servers": ["a", "b"], "locked": true, "queued": 1}], "unreachable": []}\n'
    )


def test_the_lock_column_is_there_only_while_something_listed_is_locked(live: Pair) -> None:
    put(live.a / "report", "1", at=0)
    put(live.a / "zebra", "1", at=0)
    live.settle()
    live.lab3("lock", "report")
    assert live.lab3() == f"0  1  {DAY} 12:26:40  locked  report\n1  1  {DAY} 12:26:40          zebra\n"
    put_at_once(live.b / "report", "2", at=1)
    live.server_a.wait_event("queued", path="report")
    assert live.lab3().splitlines()[0] == f"0  1  {DAY} 12:26:40  locked+1  report"
    live.lab3("unlock", "report")
    assert live.lab3() == f"0  1  {DAY} 12:26:41  report\n1  1  {DAY} 12:26:40  zebra\n"


def test_long_says_who_holds_what(live: Pair) -> None:
    put(live.a / "both", "1", at=0)
    put(live.a / "held", "1", at=0)
    live.settle()
    live.lab3(
        "lock",
        "held",
    )
    put_at_once(live.b / "held", "222", at=1)
    live.server_a.wait_event("queued", path="held")
    assert live.lab3("ls", "--long") == (
        f"0  1  {DAY} 12:26:40            a,b  both\n"
        f"1  1  {DAY} 12:26:40  locked+1  a    held\n"
        f"1  3  {DAY} 12:26:41  locked+1  b    held\n"
    )
    versions = json.loads(live.lab3("ls", "--long", "--json"))["files"][1]["versions"]
    assert versions == [
        {"server": "a", "size": 1, "mtime_ns": moment(0)},
        {"server": "b", "size": 3, "mtime_ns": moment(1)},
    ]


def test_what_only_b_has_while_it_is_locked_is_listed(live: Pair) -> None:
    put(live.b / "new", "1", at=0)
    live.settle()
    live.lab3("lock", "new")
    (live.b / "new").unlink()
    live.server_a.wait_event("queued", path="new", change="deleted")
    assert [row["servers"] for row in live.rows()] == [["a"]]
    live.lab3("unlock", "new")
    assert live.rows() == []


def test_ten_thousand_files_are_ten_thousand_lines(pair: Pair) -> None:
    for number in range(10_000):
        for directory in (pair.a, pair.b):
            (directory / f"{number:05}").touch()
            os.utime(directory / f"{number:05}", (number, number))
    pair.start("b", "a")
    lines = pair.lab3().splitlines()
    assert [line.split()[-1] for line in lines] == [f"{number:05}" for number in range(10_000)]
    assert [int(line.split()[0]) for line in lines] == list(range(10_000))
    assert {len(line) for line in lines} == {len(lines[0])}


def test_names_are_escaped_for_people_and_exact_for_programs(live: Pair) -> None:
    names = [b"new\nline", b"\x1b[31mred", b"not utf-8 \xff", "tab\tä €".encode(), b"back\\slash"]
    for name in names:
        put(Path(os.fsdecode(os.path.join(os.fsencode(live.a), name))), "")
    live.settle()
    lines = live.lab3().splitlines()
    assert len(lines) == len(names)
    assert not any(ord(character) < 32 for line in lines for character in line)
    assert {os.fsencode(str(row["name"])) for row in live.rows()} == set(names)
    raw = live.command("lab3", "ls", "--json").stdout
    assert raw.isascii()


def test_a_file_is_listed_while_it_is_being_written_at_b(live: Pair) -> None:
    with (live.b / "growing").open("wb", buffering=0) as writer:
        writer.write(b"x" * 100_000)
        live.server_a.wait_event("in_sync")
        row = next(row for row in live.rows() if row["name"] == "growing")
        assert row["size"] == 100_000
        writer.write(b"x" * 50_000)
        assert live.rows()[0]["size"] in (100_000, 150_000)
    assert (live.settle())[b"growing"][1] == b"x" * 150_000
    assert live.rows()[0]["servers"] == ["a", "b"]


def _listed_without_b(pair: Pair) -> None:
    began = time.monotonic()
    result = pair.command("lab3", is_ok=False)
    seconds = time.monotonic() - began
    assert result.returncode == 1
    assert result.stdout == f"0  1  {DAY} 12:26:40  x\n"
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "server B cannot be reached" in result.stderr
    assert seconds < LISTING_SECONDS_MAX
    listing = json.loads(pair.command("lab3", "ls", "--json", is_ok=False).stdout)
    assert listing["unreachable"] == ["b"]
    assert [(row["name"], row["servers"]) for row in listing["files"]] == [("x", ["a"])]


def test_without_b_what_a_has_is_listed(live: Pair) -> None:
    put(live.a / "x", "1", at=0)
    live.settle()
    live.stop("b")
    live.server_a.wait_event("disconnected")
    _listed_without_b(live)


def test_while_b_does_not_answer_what_a_has_is_listed(live: Pair) -> None:
    put(live.a / "x", "1", at=0)
    live.settle()
    live.server_b.process.send_signal(signal.SIGSTOP)
    _listed_without_b(live)
    live.server_b.process.send_signal(signal.SIGCONT)
    live.settle()


def test_before_b_was_ever_there_what_a_has_is_listed(pair: Pair) -> None:
    put(pair.a / "x", "1", at=0)
    pair.start("a")
    _listed_without_b(pair)


def test_without_a_there_is_one_line(live: Pair) -> None:
    live.stop("a")
    for words in (["lab3"], ["lab3", "ls", "--json"], ["dirsync", "status"], ["lab3", "-lock", "-0"]):
        result = live.command(*words, is_ok=False)
        assert (result.returncode, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "server A" in result.stderr
        assert "dirsync serve --role a" in result.stderr
