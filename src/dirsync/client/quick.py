"""Owns the client's end of the short way (`dirsync.wire.shortway`): asks Server A for what a command prints.

Whatever is unusual is not complained of here: None, and the command goes the ordinary way, which says what is wrong.
Nothing is said to a socket that is not this user's own, and nothing asked before the server has proven itself.
`_socket` instead of `socket`, which takes 8 ms to import.
"""

import _socket
import os
import stat
import sys

from dirsync.client.way import Way
from dirsync.errors import RemoteProtocolError, Unreachable
from dirsync.limits import CLIENT_SECONDS, HEARTBEAT_SECONDS
from dirsync.wire.framing import FrameReader, encode_frame
from dirsync.wire.shortway import (
    ASK_BYTES_MAX,
    BEAT,
    DECLINED,
    END,
    ERR,
    GREETING,
    NONCE_BYTES,
    OUT,
    PROOF_BYTES,
    SEEN,
    client_proof,
    encode_ask,
    is_proof,
    piece_of,
    proof_key,
    server_proof,
)

_TOO_LATE = "server A at {} cannot be reached: no answer in time"
_KEY_BYTES_MAX = 64 * 1024
_RECEIVE_BYTES = 256 * 1024
_OTHERS_READ = 0o077
_OTHERS_WRITE = 0o022
_BEATS_MAX = CLIENT_SECONDS / HEARTBEAT_SECONDS
"""Of a server that is alive, but has nothing to say, before it is given up."""


class Printed:
    """A whole answer: what to print where, the exit status, and what is to be remembered of a listing."""

    __slots__ = ("complaints", "out", "seen", "status")

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.complaints: list[bytes] = []
        self.seen: list[bytes] = []
        self.status = 0

    def take(self, kind: bytes, content: bytes) -> None:
        """Add a piece. Raises RemoteProtocolError, ValueError for a status that is no number."""
        if kind == OUT:
            self.out.append(content)
        elif kind == ERR:
            self.complaints.append(content)
        elif kind == SEEN:
            self.seen.append(content)
        elif kind == END:
            self.status = int(content)
        else:
            raise RemoteProtocolError("not a piece of this answer")


def ask_printed(way: Way, words: list[bytes], *, is_patient: bool) -> Printed | None:
    """Return what the command prints, or None where it has to go the ordinary way.

    One that is patient waits for as long as the server shows that it is alive. Raises Unreachable where a server that
    listens does not answer in time: the ordinary way would wait for the same one again.
    """
    ask = encode_ask(os.environb.get(b"TZ", b""), words)
    key = _key(way.key)
    if key is None or len(ask) > ASK_BYTES_MAX or not _is_own(way.socket):
        return None
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(CLIENT_SECONDS)
        connection.connect(way.socket)
        if not _is_peer_own(connection) or not _are_both_proven(connection, key):
            return None
        connection.sendall(encode_frame(ask))
        return _answer(connection, is_patient)
    except TimeoutError:
        raise Unreachable(_TOO_LATE.format(way.socket)) from None
    except (OSError, ValueError, RemoteProtocolError):
        return None
    finally:
        connection.close()


def _key(path: str) -> bytes | None:
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY)
        if os.fstat(descriptor).st_mode & _OTHERS_READ:
            return None
        return proof_key(os.read(descriptor, _KEY_BYTES_MAX))
    except OSError:
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_own(path: str) -> bool:
    """Return whether a socket stands there, not a link to one, that only this user can have put there and can use."""
    try:
        here, above = os.lstat(path), os.lstat(os.path.dirname(path))
    except OSError:
        return False
    return (
        stat.S_ISSOCK(here.st_mode)
        and stat.S_ISDIR(above.st_mode)
        and here.st_uid == above.st_uid == os.geteuid()
        and not here.st_mode & _OTHERS_READ
        and not above.st_mode & _OTHERS_WRITE
    )


def _is_peer_own(connection: _socket.socket) -> bool:
    """Return whether the process that listens is this user's, where the system tells."""
    if sys.platform != "linux":
        return True
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder) == os.geteuid()


def _are_both_proven(connection: _socket.socket, key: bytes) -> bool:
    greeting = _receive(connection, len(GREETING) + NONCE_BYTES)
    if not greeting.startswith(GREETING):
        return False
    server_nonce, client_nonce = greeting[len(GREETING) :], os.urandom(NONCE_BYTES)
    connection.sendall(client_nonce + client_proof(key, server_nonce, client_nonce))
    given = _receive(connection, PROOF_BYTES)
    return is_proof(key, given, server_proof(key, server_nonce, client_nonce))


def _receive(connection: _socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = connection.recv(size - len(received))
        if not data:
            raise RemoteProtocolError("the server left during the meeting")
        received += data
    return received


def _answer(connection: _socket.socket, is_patient: bool) -> Printed | None:
    printed, reader, beats = Printed(), FrameReader(), 0
    while data := connection.recv(_RECEIVE_BYTES):
        reader.receive_data(data)
        for payload in reader.frames_received():
            kind, content = piece_of(bytes(payload))
            if kind == DECLINED:
                return None
            if kind == BEAT:
                beats += 1
                if beats > _BEATS_MAX and not is_patient:
                    raise TimeoutError
                continue
            beats = 0
            printed.take(kind, content)
            if kind == END:
                return printed
    return None
