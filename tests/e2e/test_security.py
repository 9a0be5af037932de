"""Who gets in: the pair's credential, and what everybody else can do, which is nothing."""

import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dirsync.net.tls import Credential, make_credential
from dirsync.wire.client_messages import ListRequest
from dirsync.wire.codec import decode, encode
from dirsync.wire.framing import FrameReader, encode_frame
from dirsync.wire.meeting import PROTOCOL_MAJOR, Denied, Hello, Welcome
from dirsync.wire.messages import Message, Reply, Request
from dirsync.wire.replica_messages import LookRequest
from tests.e2e.files import put
from tests.e2e.servers import Pair, Server, wait_until
from tests.e2e.test_commands import failing
from tests.e2e.test_processes import refused

BIN = Path(sys.executable).parent
STRANGERS = 200


def place_of(server: Server) -> tuple[str, int]:
    host, port = str(server.events("ready")[0]["listen"]).split(":")
    return host, int(port)


def spoken(server: Server, credential: Credential, *messages: Message) -> list[Message]:
    """Connect with a credential, say these and return what is answered before the connection ends or all is said."""
    answers: list[Message] = []
    frames = FrameReader()
    with socket.create_connection(place_of(server), 10) as plain, credential.client_context().wrap_socket(plain) as tls:
        for number, message in enumerate(messages):
            tls.sendall(encode_frame(encode(Request(2 * number + 1, message))))
            while len(answers) <= number:
                data = tls.recv(65536)
                if not data:
                    return answers
                frames.receive_data(data)
                envelopes = [decode(frame) for frame in frames.frames_received()]
                answers.extend(one.body if isinstance(one, Reply) else one for one in envelopes if not _is_beat(one))
    return answers


def _is_beat(envelope: object) -> bool:
    return type(envelope).__name__ == "Notice"


@contextmanager
def strangers(*servers: Server) -> Iterator[list[socket.socket]]:
    """Many connections to each server that say nothing."""
    places = [place_of(server) for server in servers]
    connected = [socket.create_connection(place, 10) for place in places for _ in range(STRANGERS)]
    try:
        yield connected
    finally:
        for one in connected:
            one.close()


def wait_refused(server: Server, reason: str) -> None:
    """Wait until a server has said that it refused somebody for this reason."""
    start = f"refused a connection from 127.0.0.1: {reason}"
    wait_until(
        lambda: any(str(e["reason"]).startswith(start) for e in server.events("notice")),
        f"{server.role} to say {start!r}; it said {server.events('notice')}",
    )


def still_works(pair: Pair) -> None:
    name = f"after {len(list(pair.a.iterdir()))}"
    put(pair.a / name, "1")
    assert name.encode() in pair.settle()
    assert pair.server_a.events("disconnected") == []


# The credential


def test_the_first_start_makes_the_credential(pair: Pair) -> None:
    pair.start("b", "a")
    key = pair.state / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in pair.state.iterdir()) == ["a", "b", "key.pem"]
    assert pair.state.stat().st_mode & 0o077 == 0


def test_a_credential_that_others_can_read_is_refused(pair: Pair) -> None:
    pair.command("dirsync", "keygen")
    key = pair.state / "key.pem"
    key.chmod(0o640)
    assert refused(pair, "b") == f"the credential {key} can be read by others; run: chmod 600 {key}"
    assert "chmod 600" in failing(pair, "lab3", "ls", status=2)
    key.chmod(0o600)
    pair.start("b", "a")


def test_a_credential_that_is_none_is_refused(pair: Pair) -> None:
    pair.state.mkdir()
    key = pair.state / "key.pem"
    key.write_text("hello")
    key.chmod(0o600)
    assert str(key) in refused(pair, "b")
    assert str(key) in failing(pair, "lab3", "ls", status=2)


@pytest.mark.parametrize("role", ["a", "b"])
def test_beyond_this_machine_nobody_makes_one(pair: Pair, role: str) -> None:
    text = pair.config.read_text()
    pair.config.write_text(text.replace("127.0.0.1:0", "0.0.0.0:0", 1))
    said = refused(pair, role)
    assert str(pair.state / "key.pem") in said
    assert "dirsync keygen" in said
    assert "copy" in said
    assert not (pair.state / "key.pem").exists()


def test_a_client_without_the_credential_asks_nothing(live: Pair) -> None:
    key, before = live.state / "key.pem", live.server_a.events("notice")
    key.rename(live.home / "away")
    for words in (("lab3", "ls"), ("dirsync", "status"), ("lab3", "-lock", "-0")):
        assert f"no credential at {key}" in failing(live, *words, status=2)
    (live.home / "away").rename(key)
    assert live.server_a.events("notice") == before


def test_a_client_with_another_credential_is_refused(live: Pair) -> None:
    key = live.state / "key.pem"
    key.unlink()
    make_credential(key)
    said = failing(live, "lab3", "ls", status=2)
    assert "both ends need the same key file" in said
    live.server_a.wait_event("notice")
    assert failing(live, "dirsync", "status", status=2)
    reasons = [str(said["reason"]) for said in live.server_a.events("notice")]
    # A command takes the short way on this machine, or the one over the network.
    form = re.compile(r"refused a connection from (127\.0\.0\.1|this machine): it has another credential")
    assert all(map(form.match, reasons)), reasons
    assert len(reasons) == len(set(reasons)), "the same line is not repeated for each try"


def test_a_peer_with_another_credential_is_refused(pair: Pair) -> None:
    pair.start("b")
    key = pair.state / "key.pem"
    key.unlink()
    make_credential(key)
    put(pair.a / "x", "secret")
    pair.start_alone("a")
    assert "both ends need the same key file" in str(pair.server_a.wait_event("notice")["reason"])
    wait_refused(pair.server_b, "it has another credential")
    for server in (pair.server_a, pair.server_b):
        assert server.events("connected") == []
    assert list(pair.b.iterdir()) == []


# Strangers


@pytest.mark.parametrize("role", ["a", "b"])
def test_other_protocols_are_turned_away(shared: Pair, role: str) -> None:
    server = shared.running[role]
    for said in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0" * 100_000,
        b"\xff" * 10,
        b"\x16\x03\x01\xff\xff" + b"\0" * 70_000,
    ):
        with socket.create_connection(place_of(server), 10) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            while _received(stranger):
                pass
    wait_refused(server, "it does not speak as dirsync does")
    still_works(shared)


def _received(stranger: socket.socket) -> bytes:
    try:
        return stranger.recv(65536)
    except (ConnectionError, ssl.SSLError):
        return b""


@pytest.mark.parametrize("role", ["a", "b"])
def test_nobody_without_a_certificate_gets_in(shared: Pair, role: str) -> None:
    server = shared.running[role]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    hello = encode_frame(encode(Request(1, Hello(PROTOCOL_MAJOR, 0, "client"))))
    with socket.create_connection(place_of(server), 10) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(hello)
        assert _received(tls) == b""
    wait_refused(server, "it has another credential, or none")
    still_works(shared)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
def test_older_tls_is_refused(shared: Pair, version: ssl.TLSVersion) -> None:
    context = Credential.load(shared.state / "key.pem").client_context()
    context.minimum_version = version
    context.maximum_version = version
    with (
        socket.create_connection(place_of(shared.server_a), 10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)
    still_works(shared)


def test_silent_strangers_disturb_nobody(live: Pair) -> None:
    with strangers(live.server_a, live.server_b):
        began = time.monotonic()
        still_works(live)
        assert live.rows()
        live.stop("b")
        live.server_a.wait_event("disconnected")
        with strangers(live.server_a):
            live.start("b")
            live.server_a.wait_event("connected", count=2)
        assert time.monotonic() - began < 20


def test_many_clients_at_once(shared: Pair) -> None:
    put(shared.a / "zz last", "1")
    shared.settle()
    command = [BIN / "lab3", "--config", shared.config]
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shared.environment)
        for _ in range(20)
    ]
    printed = {(*client.communicate(timeout=60), client.returncode) for client in clients}
    assert len(printed) == 1, printed
    out, complaints, status = printed.pop()
    assert (out.split()[-1], complaints, status) == ("last", "", 0)


# Whoever has the credential is still let in only for what it is


@pytest.mark.parametrize(
    ("role", "hello", "reason"),
    [
        ("a", Hello(PROTOCOL_MAJOR, 0, "control"), "Server A answers clients only"),
        ("a", Hello(PROTOCOL_MAJOR, 0, "bulk"), "Server A answers clients only"),
        ("a", Hello(PROTOCOL_MAJOR, 0, "web"), "does not know that kind of connection"),
        ("a", Hello(PROTOCOL_MAJOR + 1, 0, "client"), "protocol version"),
        ("b", Hello(PROTOCOL_MAJOR, 0, "client"), "Server B answers Server A only"),
        ("b", Hello(PROTOCOL_MAJOR, 0, "bulk", session=b"0" * 16), "belongs to no session"),
        ("b", Hello(PROTOCOL_MAJOR, 0, "control", replica_id=b"0" * 16), "another Server A is connected"),
        ("b", Hello(PROTOCOL_MAJOR + 1, 0, "control"), "protocol version"),
    ],
    ids=lambda value: value.kind if isinstance(value, Hello) else None,
)
def test_a_hello_that_is_not_welcome(shared: Pair, role: str, hello: Hello, reason: str) -> None:
    server = shared.running[role]
    (answer,) = spoken(server, Credential.load(shared.state / "key.pem"), hello)
    assert isinstance(answer, Denied)
    assert reason in answer.reason
    wait_refused(server, answer.reason)
    still_works(shared)


def test_a_client_may_not_speak_as_a_server(shared: Pair) -> None:
    credential = Credential.load(shared.state / "key.pem")
    hello = Hello(PROTOCOL_MAJOR, 0, "client")
    welcome, answer = spoken(shared.server_a, credential, hello, LookRequest(True))
    assert isinstance(welcome, Welcome)
    assert "not something a client asks" in str(answer)
    (first,) = spoken(shared.server_a, credential, ListRequest())[:1] or (None,)
    assert first is None, "nothing is answered before a hello"
    still_works(shared)
