"""The short way: who is answered on the Unix socket, who is not, and what becomes of the socket."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from dirsync.net import shortway
from dirsync.net.shortway import ShortWay
from dirsync.wire.framing import FrameReader, encode_frame
from dirsync.wire.shortway import (
    ASK_BYTES_MAX,
    END,
    GREETING,
    NONCE_BYTES,
    OUT,
    SOCKET_NAME,
    client_proof,
    encode_ask,
    server_proof,
)

KEY = b"k" * 32
MINE = b"n" * NONCE_BYTES
OTHER_CREDENTIAL = "it has another credential, or none; both ends need the same key file"
TOO_SLOW = "it did not introduce itself in time"


class Tasks:
    """Starts what a task group would."""

    create_task = staticmethod(asyncio.create_task)


class Ground:
    def __init__(self, directory: Path) -> None:
        self.asked: list[bytes] = []
        self.refused: asyncio.Queue[str] = asyncio.Queue()
        self.path = directory / SOCKET_NAME
        self.way = ShortWay(directory, KEY, self.answer, Tasks(), lambda _, reason: self.refused.put_nowait(reason))

    async def answer(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        self.asked.append(payload)
        yield OUT + b"listing"
        yield END + b"0"

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Return a connection and the nonce it was greeted with."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        greeting = await reader.readexactly(len(GREETING) + NONCE_BYTES)
        assert greeting.startswith(GREETING)
        return reader, writer, greeting[len(GREETING) :]


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    made = short(tmp_path, monkeypatch)
    async with made.way:
        yield made


def short(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Return a ground in `directory`, by a name that no depth of temporary directories makes too long."""
    monkeypatch.chdir(directory)
    return Ground(Path())


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_who_proves_the_credential_is_answered(ground: Ground) -> None:
    reader, writer, nonce = await ground.dial()
    writer.write(MINE + client_proof(KEY, nonce, MINE))
    assert await reader.readexactly(32) == server_proof(KEY, nonce, MINE)
    writer.write(encode_frame(encode_ask(b"UTC", [b"ls"])))
    frames = FrameReader()
    frames.receive_data(await reader.read())
    assert frames.frames_received() == [OUT + b"listing", END + b"0"]
    assert ground.asked == [b"UTC\0ls"]
    await close(writer)


async def assert_refused(ground: Ground, proof: bytes) -> None:
    reader, writer, _ = await ground.dial()
    writer.write(proof + encode_frame(encode_ask(b"", [b"ls"])))
    with pytest.raises((EOFError, ConnectionResetError)):
        await reader.readexactly(1)
    assert await ground.refused.get() == OTHER_CREDENTIAL
    assert ground.asked == []
    writer.close()


async def test_a_wrong_proof_gets_nothing_not_even_the_servers(ground: Ground) -> None:
    await assert_refused(ground, MINE + bytes(32))


async def test_a_proof_with_another_key_gets_nothing(ground: Ground) -> None:
    reader, writer, nonce = await ground.dial()
    writer.write(MINE + client_proof(b"x" * 32, nonce, MINE))
    assert await ground.refused.get() == OTHER_CREDENTIAL
    assert await reader.read() == b""
    writer.close()


async def test_a_proof_that_was_overheard_is_worth_nothing_later(ground: Ground) -> None:
    reader, writer, nonce = await ground.dial()
    overheard = MINE + client_proof(KEY, nonce, MINE)
    writer.write(overheard)
    await reader.readexactly(32)
    await assert_refused(ground, overheard)
    await close(writer)


async def test_the_servers_proof_is_none_of_a_client(ground: Ground) -> None:
    reader, writer, nonce = await ground.dial()
    writer.write(MINE + server_proof(KEY, nonce, MINE))
    assert await ground.refused.get() == OTHER_CREDENTIAL
    assert await reader.read() == b""
    writer.close()


async def test_a_silent_guest_is_given_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortway, "HANDSHAKE_SECONDS", 0.01)
    reader, writer, _ = await ground.dial()
    assert await ground.refused.get() == TOO_SLOW
    assert await reader.read() == b""
    await close(writer)


async def test_a_question_that_claims_too_much_is_not_waited_for(ground: Ground) -> None:
    reader, writer, nonce = await ground.dial()
    writer.write(MINE + client_proof(KEY, nonce, MINE) + (ASK_BYTES_MAX + 1).to_bytes(4, "big"))
    assert await ground.refused.get() == "it does not speak as dirsync does"
    assert await reader.read() == server_proof(KEY, nonce, MINE)
    await close(writer)


async def test_one_stranger_too_many_breaks_the_oldest_off(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortway, "STRANGERS_MAX", 2)
    (first, one, _), (_, two, _), (_, three, _) = [await ground.dial() for _ in range(3)]
    assert await first.read() == b""
    for writer in (one, two, three):
        writer.close()


async def test_the_socket_is_its_owners_alone_and_goes_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = short(tmp_path, monkeypatch)
    async with ground.way:
        status = os.lstat(ground.path)
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


async def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = short(tmp_path, monkeypatch)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(ground.path))
    async with ground.way:
        _, writer, _ = await ground.dial()
        await close(writer)


async def test_a_file_system_without_sockets_means_no_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = short(tmp_path, monkeypatch)
    ground.path.mkdir()  # so that nothing can be put there
    async with ground.way:
        assert not stat.S_ISSOCK(os.lstat(ground.path).st_mode)


async def test_a_path_too_long_for_a_socket_means_no_short_way(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with Ground(deep).way:
        assert list(deep.iterdir()) == []
