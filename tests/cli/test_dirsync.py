import json
import socket
import stat
from pathlib import Path

import pytest

from dirsync import __version__
from dirsync.core.entry import Digest, File, Role
from dirsync.core.events import Event, EventName
from dirsync.core.paths import RelPath
from dirsync.core.versions import Version, Why
from dirsync.errors import Refusal
from dirsync.net.tls import Credential
from dirsync.wire.client_messages import (
    BringBackRequest,
    EventsPart,
    EventsRequest,
    OutputRequest,
    ServerStatus,
    StatusReply,
    WaitReply,
    WaitRequest,
)
from dirsync.wire.meeting import Chunk, Done
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import HistoryReply, HistoryRequest, RestoreReply
from tests.cli.typing_it import scripted, the_error, typed
from tests.client.scripted_server import Answer

NAME = RelPath(b"report.txt")
KEPT = Version("a17", Role.A, NAME, File(Digest(bytes(32)), 6, 10**18 + 1, 0o640), 0, Why.REPLACED)


def status_reply(*, is_connected: bool = True) -> StatusReply:
    servers = (ServerStatus(Role.A, "ready", "127.0.0.1:7401", "/srv/a", 1, 5),)
    return StatusReply(__version__, is_connected, True, servers, 0, (), (), "")


@pytest.mark.parametrize("name", ["dirsync", "lab3"])
def test_help_and_version(name: str) -> None:
    assert typed(f"{name} --version").stdout == f"{name} {__version__}\n"
    shown = typed(f"{name} --help")
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"Usage: {name} ")


def test_status(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda _: [status_reply()]):
        assert "connected, in sync\n" in typed("dirsync status").stdout
        assert json.loads(typed("dirsync status --json").stdout)["in_sync"] is True


def test_wait(tmp_path: Path) -> None:
    replies: list[Message] = [WaitReply(True, ()), WaitReply(False, tuple("abcdefg"))]
    with scripted(tmp_path, lambda _: [replies.pop(0)]) as script:
        done, late = typed("dirsync wait"), typed("dirsync wait --timeout 0.5")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert late.exit_code == 1
    assert the_error(late) == "dirsync: not in sync after 0.5 s: a; b; c; d; e; and 2 more"
    assert script.asked == [WaitRequest(-1.0), WaitRequest(0.5)]


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "x"])
def test_wait_takes_a_number_of_seconds(timeout: str) -> None:
    result = typed("dirsync wait --timeout", timeout)
    assert result.exit_code == 2
    assert "--timeout" in the_error(result)


def test_events(tmp_path: Path) -> None:
    events = [Event(n, Role.B, EventName.LOCKED, NAME) for n in range(3)]

    def answer(_: Message) -> Answer:
        return [EventsPart(tuple(events[:2])), EventsPart(()), EventsPart(tuple(events[2:])), Done()]

    with scripted(tmp_path, answer) as script:
        text, for_programs = typed("dirsync events"), typed("dirsync events --json --follow --last 3")
    assert len(text.stdout.splitlines()) == 3
    assert all(line.endswith("B          locked     report.txt") for line in text.stdout.splitlines())
    assert [json.loads(line)["event"] for line in for_programs.stdout.splitlines()] == ["locked"] * 3
    assert script.asked == [EventsRequest(-1, False), EventsRequest(3, True)]


def test_history(tmp_path: Path) -> None:
    replies = [HistoryReply((KEPT,)), HistoryReply((KEPT,), (Role.B,)), HistoryReply(())]
    with scripted(tmp_path, lambda _: [replies.pop(0)]) as script:
        full, partial, none = (
            typed("dirsync history report.txt"),
            typed("dirsync history report.txt --json"),
            typed("dirsync history report.txt"),
        )
    assert script.asked[0] == HistoryRequest(NAME)
    assert full.exit_code == 0
    assert full.stdout.startswith("a17  a  ")
    assert full.stdout.endswith("  6  replaced\n")
    assert partial.exit_code == 1
    assert "server B cannot be reached" in the_error(partial)
    assert json.loads(partial.stdout)["versions"][0]["id"] == "a17"
    assert (none.exit_code, none.stdout) == (0, "")
    assert the_error(none) == "dirsync: no versions of report.txt are kept"


def test_restore_brings_back(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda _: [RestoreReply(KEPT)]) as script:
        newest, chosen = typed("dirsync restore report.txt"), typed("dirsync restore report.txt --version a17 --from a")
    assert newest.stdout == chosen.stdout == "restored report.txt from version a17\n"
    assert script.asked == [BringBackRequest(NAME, "", None), BringBackRequest(NAME, "a17", Role.A)]


def test_restore_writes_elsewhere(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    output.write_text("before")
    with scripted(tmp_path, lambda _: [Chunk(b"abc"), Chunk(b"def"), RestoreReply(KEPT)]) as script:
        result = typed("dirsync restore report.txt --output", str(output))
    assert result.exit_code == 0, result.stderr
    assert script.asked == [OutputRequest(NAME, "", None)]
    assert output.read_bytes() == b"abcdef"
    assert output.stat().st_mtime_ns == 10**18 + 1
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


ANSWERS: list[Answer] = [[Chunk(b"abc"), RestoreReply(KEPT)], Refusal("no such version"), None]


@pytest.mark.parametrize("answer", ANSWERS, ids=["short", "refused", "cut"])
def test_an_output_is_whole_or_not_written(tmp_path: Path, answer: Answer) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.txt").write_text("before")
    with scripted(tmp_path, lambda _: answer):
        result = typed("dirsync restore report.txt --output out/out.txt")
    assert result.exit_code == 1
    assert [file.read_text() for file in folder.iterdir()] == ["before"]


def test_an_output_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda _: [RestoreReply(KEPT)]):
        result = typed("dirsync restore report.txt --output missing/out.txt")
    assert result.exit_code == 1
    assert the_error(result) == "dirsync: missing/out.txt cannot be written: No such file or directory"


def configured(folder: Path, port: int = 1) -> None:
    for name in ("directory_a", "directory_b"):
        (folder / name).mkdir()
    (folder / "config.toml").write_text(
        f'[a]\ndirectory = "directory_a"\nlisten = "127.0.0.1:{port}"\n'
        '[b]\ndirectory = "directory_b"\nlisten = "127.0.0.1:7402"\n[security]\nkey = "pair.pem"\n'
    )


def test_keygen_makes_a_credential_once(tmp_path: Path) -> None:
    configured(tmp_path)
    first, second = typed("dirsync keygen"), typed("dirsync keygen")
    assert first.exit_code == 0
    Credential.load(tmp_path / "pair.pem")
    assert second.exit_code == 1
    assert "is there already" in the_error(second)


def test_without_a_configuration_every_command_says_so() -> None:
    for line in ["status", "wait", "events", "history x", "restore x", "keygen", "serve --role a"]:
        result = typed(f"dirsync {line}")
        assert result.exit_code == 2, line
        assert "no configuration" in the_error(result)


def test_without_a_key_no_request_is_made(tmp_path: Path) -> None:
    configured(tmp_path)
    result = typed("dirsync status")
    assert result.exit_code == 2
    assert "there is no credential" in the_error(result)


def test_a_server_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configured(tmp_path, port)
    typed("dirsync keygen")
    result = typed("dirsync status")
    assert result.exit_code == 1
    assert "dirsync serve --role a" in the_error(result)


def test_check_finds_what_is_right(tmp_path: Path) -> None:
    for name in ("directory_a", "directory_b"):
        (tmp_path / name).mkdir()
    with scripted(tmp_path, lambda _: [status_reply()]):
        result = typed("dirsync check")
    assert result.exit_code == 0, result.stdout
    assert len(result.stdout.splitlines()) >= 8
    assert all(line.startswith("ok       ") for line in result.stdout.splitlines())


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "directory_a").mkdir()
    with scripted(tmp_path, lambda _: [status_reply(is_connected=False)]) as script:
        script.key.chmod(0o644)
        closed = typed("dirsync check")
        script.key.chmod(0o600)
        alone = typed("dirsync check")
    assert closed.exit_code == alone.exit_code == 1
    problems = [line for line in closed.stdout.splitlines() if line.startswith("problem  ")]
    assert any("can be read by others" in line for line in problems)
    assert any("[b] directory: expected an existing directory" in line for line in problems)
    assert "problem  server B is not connected" in alone.stdout


def test_check_without_a_configuration_is_a_problem() -> None:
    result = typed("dirsync check")
    assert result.exit_code == 1
    assert result.stdout.startswith("problem  no configuration")


def test_debug_shows_where(tmp_path: Path) -> None:
    for line in ("dirsync --debug status", "dirsync status --debug"):
        result = typed(line)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("dirsync: no configuration")


def test_an_interrupt_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    configured(tmp_path)
    monkeypatch.setattr("dirsync.cli.options.load_settings", interrupt)
    result = typed("dirsync status")
    assert (result.exit_code, result.stdout, result.stderr.strip()) == (130, "", "")
