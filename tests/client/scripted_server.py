"""A Server A that says what a test told it to, over a real socket with real TLS."""

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dirsync.core.entry import Role
from dirsync.errors import DirsyncError
from dirsync.net.faults import fault_of
from dirsync.net.tls import Credential, make_credential
from dirsync.wire.codec import decode, encode
from dirsync.wire.framing import FrameReader, encode_frame
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Denied, Heartbeat, Hello, Welcome
from dirsync.wire.messages import Envelope, Message, Notice, Part, Reply, Request

PAIR = b"\x07" * 16

Answer = Sequence[Message] | DirsyncError | None
"""Parts and, last, the reply; or the error; or None: the connection is cut."""

CONFIG = """
[a]
directory = "directory_a"
listen = "127.0.0.1:{port}"
[b]
directory = "directory_b"
listen = "127.0.0.1:7402"
[security]
key = "pair.pem"
"""


class ScriptedServer:
    """Serves one client after another until closed. `asked` collects what was asked, `greeting` is what Hello gets."""

    def __init__(self, folder: Path, answer: Callable[[Message], Answer]) -> None:
        self.key = folder / "pair.pem"
        make_credential(self.key)
        self._context = Credential.load(self.key).server_context()
        self.asked: list[Message] = []
        self.greeting: Welcome | Denied | None = Welcome(PROTOCOL_MAJOR, PROTOCOL_MINOR, Role.A, pair_id=PAIR)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(port=self.address[1]))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain:
                try:
                    with self._context.wrap_socket(plain, server_side=True) as stream:
                        self._converse(stream)
                except OSError:
                    continue

    def _converse(self, stream: socket.socket) -> None:
        frames = FrameReader()
        while data := stream.recv(65536):
            frames.receive_data(data)
            for frame in frames.frames_received():
                request = decode(frame)
                assert isinstance(request, Request)
                replies = self._replies(request)
                if not replies:
                    return
                stream.sendall(b"".join(encode_frame(encode(one)) for one in replies))

    def _replies(self, request: Request) -> list[Envelope]:
        if isinstance(request.body, Hello):
            assert request.body.kind == "client"
            return [Reply(request.id, self.greeting)] if self.greeting else []
        self.asked.append(request.body)
        answer = self._answer(request.body)
        if answer is None:
            return []
        if isinstance(answer, DirsyncError):
            return [fault_of(request.id, answer)]
        *parts, last = answer
        return [Notice(Heartbeat()), *(Part(request.id, part) for part in parts), Reply(request.id, last)]
