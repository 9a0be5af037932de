"""Owns a client's connection to Server A: blocking, one request at a time, mutually authenticated.

Knows how to ask and how long to wait; what is asked and what an answer means is the business of the commands.
"""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from dirsync.errors import CredentialError, Refusal, RemoteProtocolError, Unreachable
from dirsync.limits import CLIENT_SECONDS, SILENCE_SECONDS
from dirsync.net.faults import error_of
from dirsync.net.reasons import CREDENTIAL_DIFFERS, address_text, reason_of
from dirsync.net.tls import Credential
from dirsync.wire.codec import decode, encode
from dirsync.wire.framing import FrameReader, encode_frame
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Denied, Hello, Welcome
from dirsync.wire.messages import Envelope, Fault, Message, Part, Reply, Request

T = TypeVar("T", bound=Message)

_RECEIVE_BYTES = 256 * 1024


def connect(address: tuple[str, int], credential: Credential) -> "ServerA":
    """Return a connection that Server A has welcomed.

    Raises CredentialError where A has another credential, Unreachable, Refusal where A declines.
    """
    deadline = time.monotonic() + CLIENT_SECONDS
    place = address_text(*address)
    server = ServerA(_secure(_dial(address, place), credential, place, deadline), place)
    try:
        server.introduce(deadline)
    except BaseException:
        server.close()
        raise
    return server


class ServerA:
    """Server A as a client sees it; a context manager that ends the connection. Not for use by several threads."""

    def __init__(self, stream: ssl.SSLSocket, place: str) -> None:
        self._stream = stream
        self._place = place
        self._frames = FrameReader()
        self._received: deque[Envelope] = deque()
        self._last_id = -1
        self.pair_id = b""

    def __enter__(self) -> "ServerA":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. What the server has begun goes on."""
        self._stream.close()

    def introduce(self, deadline: float) -> None:
        """Say hello and wait to be welcomed. Raises Refusal where the server declines."""
        self._send(Request(0, Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, "client")), deadline)
        match self._receive(deadline):
            case Reply(body=Welcome() as welcome):
                self.pair_id = welcome.pair_id
            case Reply(body=Denied(reason)):
                raise Refusal(f"server A at {self._place} declined: {reason}")
            case _:
                raise RemoteProtocolError(f"{self._place} does not answer as a dirsync server")

    def ask(
        self,
        body: Message,
        kind: type[T],
        *,
        seconds: float | None = CLIENT_SECONDS,
        on_part: Callable[[Message], None] | None = None,
        on_beat: Callable[[], None] | None = None,
    ) -> T:
        """Return the reply, handing over the parts that come before it.

        `seconds` bounds the wait for the reply, or for its next part, however many there are; None waits for as long as
        the server shows that it is alive, and then `on_beat` is called with each of its heartbeats. Raises what the
        server reports, Unreachable, RemoteProtocolError.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        self._last_id += 2  # the dialler asks under odd numbers
        self._send(Request(self._last_id, body), deadline)
        while True:
            match self._receive(deadline):
                case Reply(id=self._last_id, body=reply):
                    if isinstance(reply, kind):
                        return reply
                    raise RemoteProtocolError(f"expected {kind.__name__}, received {type(reply).__name__}")
                case Part(id=self._last_id, body=part):
                    if on_part is not None:
                        on_part(part)
                    deadline = None if seconds is None else time.monotonic() + seconds
                case Fault(id=self._last_id) as fault:
                    raise error_of(fault)
                case _:
                    if on_beat is not None:
                        on_beat()

    def _send(self, envelope: Envelope, deadline: float | None) -> None:
        try:
            self._stream.settimeout(self._patience(deadline))
            self._stream.sendall(encode_frame(encode(envelope)))
        except OSError as error:
            raise _lost(self._place, error) from error

    def _receive(self, deadline: float | None) -> Envelope:
        while not self._received:
            try:
                self._stream.settimeout(self._patience(deadline))
                data = self._stream.recv(_RECEIVE_BYTES)
            except OSError as error:
                raise _lost(self._place, error) from error
            if not data:
                raise _lost(self._place, None)
            self._frames.receive_data(data)
            self._received.extend(decode(frame) for frame in self._frames.frames_received())
        return self._received.popleft()

    def _patience(self, deadline: float | None) -> float:
        """Return how long to wait for the next bytes; without a deadline, as long as a living server may be silent."""
        return SILENCE_SECONDS if deadline is None else _left(deadline)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _dial(address: tuple[str, int], place: str) -> socket.socket:
    try:
        return socket.create_connection(address, CLIENT_SECONDS)
    except OSError as error:
        raise _lost(place, error) from error


def _secure(plain: socket.socket, credential: Credential, place: str, deadline: float) -> ssl.SSLSocket:
    """Return the encrypted stream over `plain`, which it owns from now on."""
    try:
        plain.settimeout(_left(deadline))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = credential.client_context().wrap_socket(plain)
    except OSError as error:
        plain.close()
        raise _lost(place, error) from error
    if not credential.is_held_by(stream):
        stream.close()
        raise CredentialError(f"server A at {place}: {CREDENTIAL_DIFFERS}")
    return stream


def _lost(place: str, error: OSError | None) -> CredentialError | Unreachable:
    reason = reason_of(error)
    if reason == CREDENTIAL_DIFFERS:
        return CredentialError(f"server A at {place}: {reason}")
    return Unreachable(f"server A at {place} cannot be reached: {reason}")
