import json
from pathlib import Path

import pytest

from dirsync.client.remembered import recall
from dirsync.core.entry import Role
from dirsync.core.listing import Standing, composite
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from dirsync.wire.client_messages import (
    ListPart,
    ListReply,
    ListRequest,
    LockedName,
    LockReply,
    LockRequest,
    LocksReply,
    LocksRequest,
    UnlockReply,
    UnlockRequest,
)
from dirsync.wire.messages import Message
from tests.cli.typing_it import scripted, the_error, typed
from tests.client.scripted_server import PAIR, Answer


class Files:
    """What the scripted Server A holds."""

    def __init__(self, *names: bytes) -> None:
        self.names = [RelPath(name) for name in names]
        self.unreachable: tuple[Role, ...] = ()
        self.applied = 2
        self.was_locked = False

    def __call__(self, request: Message) -> Answer:
        match request:
            case ListRequest():
                files = {name: Standing(len(name), 0) for name in self.names}
                rows = tuple(composite({}, {Role.A: files}, frozenset(), {}))
                return [ListPart(rows), ListReply(PAIR, self.unreachable)]
            case LockRequest(path) if path not in self.names:
                return Refusal("no such file")
            case LockRequest():
                return [LockReply(self.was_locked)]
            case UnlockRequest():
                return [UnlockReply(self.applied)]
            case LocksRequest():
                return [LocksReply((LockedName(RelPath(b"a.txt"), 0, False, "", ()),))]
            case _:
                raise AssertionError(request)


@pytest.mark.parametrize(
    "line", ["lab3", "lab3 ls", "lab3 --debug", "lab3 --config config.toml", "lab3 ls --config=config.toml"]
)
def test_the_listing_is_printed_and_remembered(tmp_path: Path, line: str) -> None:
    with scripted(tmp_path, Files(b"b.txt", b"a.txt")):
        result = typed(line)
    assert result.exit_code == 0, result.stderr
    assert [row.split()[0] + row.split()[-1] for row in result.stdout.splitlines()] == ["0a.txt", "1b.txt"]
    assert result.stderr == ""
    assert recall(PAIR.hex()) == [b"a.txt", b"b.txt"]


def test_n_files_are_n_lines_even_where_there_are_none(tmp_path: Path) -> None:
    with scripted(tmp_path, Files()):
        result = typed("lab3")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("line", ["lab3 --json", "lab3 ls --json"])
def test_the_listing_for_programs(tmp_path: Path, line: str) -> None:
    with scripted(tmp_path, Files(b"\xff")):
        result = typed(line)
    assert json.loads(result.stdout)["files"][0]["name"] == "\udcff"
    assert result.stdout.isascii()


def test_without_b_the_rest_is_listed_and_the_status_says_so(tmp_path: Path) -> None:
    files = Files(b"a.txt")
    files.unreachable = (Role.B,)
    with scripted(tmp_path, files):
        text, for_programs = typed("lab3"), typed("lab3 --json")
    assert text.exit_code == for_programs.exit_code == 1
    assert text.stdout.endswith("a.txt\n")
    assert the_error(text) == "lab3: server B cannot be reached: what only it holds is not listed"
    assert json.loads(for_programs.stdout)["unreachable"] == ["b"]


@pytest.mark.parametrize(
    "line",
    [
        "lab3 -lock -1",
        "lab3 --config config.toml -lock -1",
        "lab3 -lock -1 --config config.toml",
        "lab3 -lock --config config.toml -1",
        "lab3 --debug -lock -01",
    ],
)
def test_an_index_means_what_the_last_listing_showed(tmp_path: Path, line: str) -> None:
    files = Files(b"b.txt", b"c.txt")
    with scripted(tmp_path, files) as script:
        typed("lab3")
        files.names.insert(0, RelPath(b"a.txt"))
        result = typed(line)
    assert (result.exit_code, result.stdout) == (0, "locked c.txt\n")
    assert script.asked[-1] == LockRequest(RelPath(b"c.txt"))


def test_with_no_remembered_listing_the_current_one_counts(tmp_path: Path) -> None:
    with scripted(tmp_path, Files(b"a.txt", b"b\n.txt")) as script:
        result = typed("lab3 -unlock -1")
    assert (result.exit_code, result.stdout) == (0, "unlocked b\\n.txt: 2 updates applied\n")
    assert script.asked == [ListRequest(), UnlockRequest(RelPath(b"b\n.txt"))]


@pytest.mark.parametrize(("names", "known"), [((b"a", b"b"), "0 to 1"), ((), "nothing")])
def test_an_index_outside_the_listing_is_one_clear_line(tmp_path: Path, names: tuple[bytes, ...], known: str) -> None:
    with scripted(tmp_path, Files(*names)) as script:
        result = typed("lab3 -lock -2")
    assert result.exit_code == 1
    assert f"no index 2 in the last listing, which showed {known}" in the_error(result)
    assert script.asked == [ListRequest()]


@pytest.mark.parametrize(
    "line", ["lab3 -lock 1", "lab3 -lock -x", "lab3 -lock --1", "lab3 -lock -1.5", "lab3 -lock -٣"]
)
def test_what_is_no_index_is_a_matter_of_usage(tmp_path: Path, line: str) -> None:
    with scripted(tmp_path, Files(b"a", b"b")) as script:
        result = typed(line)
    assert result.exit_code == 2
    assert the_error(result).startswith("lab3: ")
    assert script.asked == []


@pytest.mark.parametrize("line", ["lab3 -lock", "lab3 -unlock -1 -2", "lab3 lock", "lab3 --bogus", "lab3 bogus"])
def test_wrong_usage_is_one_line_and_status_two(line: str) -> None:
    result = typed(line)
    assert result.exit_code == 2
    assert the_error(result).startswith("lab3: ")
    assert result.stdout == ""


def test_names_are_locked_and_unlocked_in_turn(tmp_path: Path) -> None:
    files = Files(b"a.txt", "ä \udcff".encode("utf-8", "surrogateescape"))
    files.applied = 1
    with scripted(tmp_path, files) as script:
        locked = typed("lab3 lock a.txt", "ä \udcff")
        unlocked = typed("lab3 unlock a.txt")
    assert locked.stdout == "locked a.txt\nlocked ä \\xff\n"
    assert unlocked.stdout == "unlocked a.txt: 1 update applied\n"
    assert script.asked[1] == LockRequest(RelPath(b"\xc3\xa4 \xff"))


def test_a_name_that_looks_like_an_option_follows_two_dashes(tmp_path: Path) -> None:
    with scripted(tmp_path, Files(b"-lock")):
        assert typed("lab3 lock -- -lock").stdout == "locked -lock\n"


def test_locking_what_is_locked_says_so(tmp_path: Path) -> None:
    files = Files(b"a.txt")
    files.was_locked = True
    with scripted(tmp_path, files):
        result = typed("lab3 lock a.txt")
    assert (result.exit_code, result.stdout) == (0, "a.txt is locked already\n")


def test_what_the_server_refuses_is_one_line_and_status_one(tmp_path: Path) -> None:
    with scripted(tmp_path, Files()):
        result = typed("lab3 lock a.txt")
    assert (result.exit_code, result.stdout, the_error(result)) == (1, "", "lab3: no such file")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "."])
def test_what_can_be_no_name_is_refused_before_anybody_is_asked(name: str) -> None:
    result = typed("lab3 lock", name)
    assert result.exit_code == 1
    assert the_error(result).startswith("lab3: not a normal relative path")


def test_locks_are_shown(tmp_path: Path) -> None:
    with scripted(tmp_path, Files()):
        assert typed("lab3 locks").stdout.startswith("a.txt  locked since ")
        assert json.loads(typed("lab3 locks --json").stdout)["locks"][0]["name"] == "a.txt"
