"""The client's end of the short way: whom it speaks to, what it believes, and when it leaves the matter to TLS."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dirsync.client import quick
from dirsync.client.quick import ask_printed
from dirsync.client.way import Way, note_way, noted_way
from dirsync.errors import Unreachable
from dirsync.wire.framing import encode_frame
from dirsync.wire.shortway import (
    BEAT,
    DECLINED,
    END,
    ERR,
    GREETING,
    OUT,
    SEEN,
    SOCKET_NAME,
    client_proof,
    proof_key,
    server_proof,
)

PEM = b"-----BEGIN PRIVATE KEY-----\nc2Vj\ncmV0\n-----END PRIVATE KEY-----\n"
NONCE = b"s" * 32
Proof = Callable[[bytes, bytes, bytes], bytes]


class Server:
    """Greets each guest, proves itself as told, and answers with these pieces."""

    def __init__(self, home: Path, pieces: list[bytes], prove: Proof, is_leaving: bool) -> None:
        self.way = Way(f"./{SOCKET_NAME}", "key.pem", "0102")
        self.heard: list[bytes] = []
        self._pieces, self._prove, self._is_leaving = pieces, prove, is_leaving
        (home / "key.pem").write_bytes(PEM)
        (home / "key.pem").chmod(0o600)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(SOCKET_NAME)
        (home / SOCKET_NAME).chmod(0o600)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            guest, _ = self._listening.accept()
        except OSError:
            return
        with guest, contextlib.suppress(OSError):  # a guest who left
            guest.sendall(GREETING + NONCE)
            hello = guest.recv(64, socket.MSG_WAITALL)
            self.heard.append(hello)
            if len(hello) == 64:
                key = proof_key(PEM)
                assert key is not None
                assert hello[32:] == client_proof(key, NONCE, hello[:32])
                guest.sendall(self._prove(key, NONCE, hello[:32]))
                self.heard.append(guest.recv(1000))
                guest.sendall(b"".join(map(encode_frame, self._pieces)))
                if not self._is_leaving:
                    guest.recv(1)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


Make = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a server in the current directory, whose short name no temporary directory makes too long."""
    made: list[Server] = []
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)

    def make(*pieces: bytes, prove: Proof = server_proof, is_leaving: bool = False) -> Server:
        made.append(Server(tmp_path, list(pieces), prove, is_leaving))
        return made[-1]

    yield make
    for server in made:
        server.close()


def ask(server: Server) -> quick.Printed | None:
    return ask_printed(server.way, [b"ls"], is_patient=False)


def test_an_answer_is_put_together(serve: Make) -> None:
    printed = ask(serve(SEEN + b"0102", BEAT, OUT + b"a\n", OUT + b"b\n", ERR + b"no b", END + b"1"))
    assert printed is not None
    assert (printed.out, printed.complaints, printed.seen, printed.status) == (
        [b"a\n", b"b\n"],
        [b"no b"],
        [b"0102"],
        1,
    )


@pytest.mark.parametrize("pieces", [[DECLINED], [OUT + b"a", b"?"], [END + b"x"]])
def test_what_is_no_whole_answer_is_none(serve: Make, pieces: list[bytes]) -> None:
    assert ask(serve(*pieces)) is None


def test_an_answer_that_breaks_off_is_none(serve: Make) -> None:
    assert ask(serve(OUT + b"half", is_leaving=True)) is None


def test_nothing_is_asked_of_a_server_that_has_not_proven_itself(serve: Make) -> None:
    server = serve(END + b"0", prove=client_proof)
    assert ask(server) is None
    server.close()
    assert server.heard[1:] == [b""]


def test_a_server_with_nothing_to_say_is_given_up(serve: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "_BEATS_MAX", 2)
    with pytest.raises(Unreachable, match="no answer in time"):
        ask(serve(BEAT, BEAT, BEAT))


def _open_to_others(home: Path) -> None:
    (home / SOCKET_NAME).chmod(0o666)


def _in_an_open_directory(home: Path) -> None:
    home.chmod(0o770)


def _a_link(home: Path) -> None:
    (home / SOCKET_NAME).rename(home / "elsewhere")
    (home / SOCKET_NAME).symlink_to("elsewhere")


def _a_file(home: Path) -> None:
    (home / SOCKET_NAME).unlink()
    (home / SOCKET_NAME).touch(0o600)


def _an_open_credential(home: Path) -> None:
    (home / "key.pem").chmod(0o644)


def _no_credential(home: Path) -> None:
    (home / "key.pem").unlink()


@pytest.mark.parametrize(
    "spoil", [_open_to_others, _in_an_open_directory, _a_link, _a_file, _an_open_credential, _no_credential]
)
def test_a_socket_that_is_not_ours_alone_hears_nothing(
    serve: Make, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    server = serve(END + b"0")
    spoil(tmp_path)
    assert ask(server) is None
    server.close()
    assert server.heard == []


def test_another_users_socket_hears_nothing(serve: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(END + b"0")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert ask(server) is None
    server.close()
    assert server.heard == []


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration that was left alone for an hour."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "config.toml"
    path.write_text("[a]")
    now = time.time()
    monkeypatch.setattr("dirsync.client.way.time.time", lambda: now + 3600)
    return path


WAY = Way("/state/a/client.sock", "/state/key.pem", "0102")


def test_a_way_is_found_again(config: Path) -> None:
    assert noted_way(str(config)) is None
    note_way(str(config), WAY)
    found = noted_way(str(config))
    assert found is not None
    assert (found.socket, found.key, found.pair_id) == (WAY.socket, WAY.key, WAY.pair_id)


def test_the_way_of_a_configuration_that_changed_is_not_believed(config: Path) -> None:
    note_way(str(config), WAY)
    config.write_text("[b]")
    assert noted_way(str(config)) is None


def test_the_way_of_a_configuration_that_was_just_written_is_not_noted(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(config.parent / "cache"))
    config.write_text("[b]")
    os.utime(config, ns=(0, 0))  # its own time may be anything
    note_way(str(config), WAY)
    assert noted_way(str(config)) is None


@pytest.mark.parametrize("content", [b"", b"dirsync way 1\0", b"something else"])
def test_a_damaged_note_counts_as_none(config: Path, content: bytes) -> None:
    note_way(str(config), WAY)
    (file,) = (config.parent / "cache" / "dirsync").iterdir()
    file.write_bytes(content)
    assert noted_way(str(config)) is None
