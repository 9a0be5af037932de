import socket
from pathlib import Path

import pytest

from dirsync.client import calls
from dirsync.client.calls import connect
from dirsync.errors import CredentialError, Refusal, RemoteProtocolError, Unreachable
from dirsync.net.tls import Credential, make_credential
from dirsync.wire.client_messages import ListReply, ListRequest, LocksReply, LocksRequest
from dirsync.wire.meeting import Chunk, Denied, Done
from dirsync.wire.messages import Message
from tests.client.scripted_server import PAIR, Answer, ScriptedServer


def locks(_: Message) -> Answer:
    return [LocksReply(())]


def test_a_reply_is_returned_and_heartbeats_are_not_mistaken_for_it(tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, locks) as script, connect(script.address, Credential.load(script.key)) as server:
        assert server.ask(LocksRequest(), LocksReply) == LocksReply(())
        assert server.ask(LocksRequest(), LocksReply) == LocksReply(())
        assert server.pair_id == PAIR
    assert script.asked == [LocksRequest(), LocksRequest()]


def test_parts_come_in_order_before_the_reply(tmp_path: Path) -> None:
    parts: list[Message] = []
    with (
        ScriptedServer(tmp_path, lambda _: [Chunk(b"1"), Chunk(b"2" * 700_000), Done()]) as script,
        connect(script.address, Credential.load(script.key)) as server,
    ):
        assert server.ask(ListRequest(), Done, on_part=parts.append) == Done()
    assert parts == [Chunk(b"1"), Chunk(b"2" * 700_000)]


def test_a_fault_is_the_error_that_the_server_had(tmp_path: Path) -> None:
    with (
        ScriptedServer(tmp_path, lambda _: Refusal("not locked")) as script,
        connect(script.address, Credential.load(script.key)) as server,
        pytest.raises(Refusal, match=r"^not locked$"),
    ):
        server.ask(LocksRequest(), LocksReply)


def test_another_reply_than_expected_breaks_the_protocol(tmp_path: Path) -> None:
    with (
        ScriptedServer(tmp_path, locks) as script,
        connect(script.address, Credential.load(script.key)) as server,
        pytest.raises(RemoteProtocolError, match="expected ListReply"),
    ):
        server.ask(ListRequest(), ListReply)


def test_a_connection_cut_while_waiting_is_unreachable(tmp_path: Path) -> None:
    with (
        ScriptedServer(tmp_path, lambda _: None) as script,
        connect(script.address, Credential.load(script.key)) as server,
        pytest.raises(Unreachable, match="closed the connection"),
    ):
        server.ask(LocksRequest(), LocksReply, seconds=None)


def test_a_server_that_declines_says_why(tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, locks) as script:
        script.greeting = Denied("too new")
        with pytest.raises(Refusal, match="too new"):
            connect(script.address, Credential.load(script.key))


def test_a_server_that_says_nothing_to_hello_is_unreachable(tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, locks) as script:
        script.greeting = None
        with pytest.raises(Unreachable):
            connect(script.address, Credential.load(script.key))


def test_another_credential_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    make_credential(other)
    with ScriptedServer(tmp_path, locks) as script:
        with pytest.raises(CredentialError, match="same key file"):
            connect(script.address, Credential.load(other))
        assert script.asked == []


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    key = tmp_path / "pair.pem"
    make_credential(key)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with pytest.raises(Unreachable, match="nobody listens"):
        connect(address, Credential.load(key))


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CLIENT_SECONDS", 0.05)
    key = tmp_path / "pair.pem"
    make_credential(key)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="no answer in time"):
        connect(silent.getsockname(), Credential.load(key))
