"""The floor `bare TLS`: python -m benchmarks.tools.transport DIRECTORY BYTES.

Sends so many bytes from memory over TLS 1.3 on the loopback to a second process, which drops them; prints the seconds.
No disk, no hash, no protocol: what asyncio, OpenSSL and the kernel take by themselves.
"""

import asyncio
import datetime
import ssl
import subprocess
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WRITE_BYTES = 256 * 1024
BUFFER_BYTES = 256 * 1024


def make_credential(path: Path) -> None:
    """Write a key and a certificate that is good for this run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


class Sink(asyncio.BufferedProtocol):
    """Drops what it receives, and answers once it has received all."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._buffer = bytearray(BUFFER_BYTES)
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection, to answer on it."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def get_buffer(self, _size_hint: int) -> bytearray:
        """Receive over what was received before."""
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        """Count."""
        self._missing -= count
        if self._missing <= 0 and self._transport:
            self._transport.write(b"!")

    def connection_lost(self, _error: Exception | None) -> None:
        """End."""
        self.ended.set()


async def receive(credential: Path, size: int) -> None:
    """Listen, say where, and receive from the first that connects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential)
    sink = Sink(size)
    server = await asyncio.get_running_loop().create_server(lambda: sink, "127.0.0.1", 0, ssl=context)
    async with server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await sink.ended.wait()


async def send(port: int, size: int) -> float:
    """Send so many bytes and return the seconds until all were acknowledged."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    piece = bytes(WRITE_BYTES)
    since = time.perf_counter()
    for _ in range(-(-size // WRITE_BYTES)):
        writer.write(piece)
        await writer.drain()
    await reader.readexactly(1)
    taken = time.perf_counter() - since
    writer.close()
    return taken


def main(directory: Path, size: int) -> None:
    """Measure once and print the seconds."""
    credential = directory / "transport.pem"
    make_credential(credential)
    words: list[str | Path] = [sys.executable, "-m", "benchmarks.tools.transport", directory, str(size), "receive"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            if receiver.stdout is None:
                raise TypeError(receiver)
            taken = asyncio.run(send(int(receiver.stdout.readline()), size))
        finally:
            receiver.kill()
    sys.stdout.write(f"{taken}\n")


if __name__ == "__main__":
    if sys.argv[3:] == ["receive"]:
        asyncio.run(receive(Path(sys.argv[1], "transport.pem"), int(sys.argv[2])))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
