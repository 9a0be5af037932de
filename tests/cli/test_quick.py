"""Which command lines take the shortest way, and that all others, and everything unusual, take the ordinary one."""

import subprocess
import sys
from pathlib import Path

import pytest

from dirsync.cli import quick
from dirsync.cli.quick import quickly
from dirsync.client.quick import Printed
from dirsync.client.remembered import remember
from dirsync.client.way import Way
from dirsync.errors import Unreachable

PAIR = "0102"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """What Server A is asked; it answers everything, for every configuration."""
    made: list[list[bytes]] = []

    def ask_printed(way: Way, words: list[bytes], *, is_patient: bool) -> Printed:
        assert is_patient is (words[0] == b"unlock")
        made.append(words)
        return Printed()

    monkeypatch.setattr(quick, "noted_way", lambda _: Way("socket", "key", PAIR))
    monkeypatch.setattr(quick, "ask_printed", ask_printed)
    monkeypatch.setattr(quick, "_out_descriptor", lambda: 1)
    remember(PAIR, [b"zero", b"\xff"])
    return made


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lab3", [b"ls"]),
        ("lab3 ls", [b"ls"]),
        ("lab3 --long --json", [b"ls", b"--long", b"--json"]),
        ("lab3 ls --json", [b"ls", b"--json"]),
        ("lab3 --config other.toml", [b"ls"]),
        ("lab3 ls --config other.toml --long", [b"ls", b"--long"]),
        ("lab3 -lock -0", [b"lock", b"zero"]),
        ("lab3 -unlock -1", [b"unlock", b"\xff"]),
        ("lab3 lock a", [b"lock", b"a"]),
        ("lab3 unlock a/b", [b"unlock", b"a/b"]),
        ("lab3 locks --json", [b"locks", b"--json"]),
        ("dirsync status", [b"status"]),
        ("dirsync status --json", [b"status", b"--json"]),
    ],
)
def test_plain_spellings(asked: list[list[bytes]], line: str, words: list[bytes]) -> None:
    name, *arguments = line.split()
    assert quickly(name, arguments) == 0
    assert asked == [words]


@pytest.mark.parametrize(
    "line",
    [
        "lab3 --help",
        "lab3 --version",
        "lab3 --debug",
        "lab3 ls --debug",
        "lab3 ls x",
        "lab3 lock",
        "lab3 lock a b",
        "lab3 lock -- a",
        "lab3 lock --help",
        "lab3 -lock",
        "lab3 -lock 1",
        "lab3 -lock --1",
        "lab3 -lock -x",
        "lab3 -lock -2",
        "lab3 -lock -1 -2",
        "lab3 -lock -0000000000000000000",
        "lab3 status",
        "lab3 --config",
        "lab3 --config a --config b",
        "lab3 --config ~/a",
        "lab3 --config ../a",
        "lab3 --config=a",
        "dirsync",
        "dirsync ls",
        "dirsync --json",
        "dirsync lock a",
        "dirsync wait",
        "dirsync serve --role a",
    ],
)
def test_everything_else_goes_the_ordinary_way(asked: list[list[bytes]], line: str) -> None:
    name, *arguments = line.split()
    assert quickly(name, arguments) is None
    assert asked == []


def test_completion_goes_the_ordinary_way(asked: list[list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LAB3_COMPLETE", "bash_source")
    assert quickly("lab3", []) is None
    assert asked == []


def test_an_index_without_a_listing_goes_the_ordinary_way(asked: list[list[bytes]], tmp_path: Path) -> None:
    (tmp_path / "cache" / "dirsync" / f"{PAIR}.listing").unlink()
    assert quickly("lab3", ["-lock", "-0"]) is None


def test_a_server_that_is_silent_is_told_as_ever(
    asked: list[list[bytes]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def ask_printed(*_: object, **__: object) -> Printed:
        raise Unreachable("server A at socket cannot be reached: no answer in time")

    monkeypatch.setattr(quick, "ask_printed", ask_printed)
    assert quickly("lab3", []) == 1
    assert capsys.readouterr().err == (
        "lab3: server A at socket cannot be reached: no answer in time; "
        f"start it with `dirsync serve --role a --config {tmp_path / 'config.toml'}`\n"
    )


def test_the_short_way_imports_next_to_nothing() -> None:
    """What it must not import takes longer than the whole of a listing."""
    heavy = {
        "asyncio",
        "click",
        "dataclasses",
        "msgpack",
        "pathlib",
        "platformdirs",
        "socket",
        "ssl",
        "tomllib",
        "typing",
    }
    code = "import sys, dirsync.cli.start, dirsync.cli.quick; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(run.stdout.split())
