"""Owns the dialler's half of a meeting: nobody is connected before a Welcome was read.

With TLS 1.3 an end whose credential is refused first sees its connect succeed, so that alone means nothing.
"""

import asyncio
import ssl

from dirsync.errors import Refusal, RemoteProtocolError, Unreachable
from dirsync.limits import HANDSHAKE_SECONDS
from dirsync.net.calls import CLIENT_TERMS, SERVER_TERMS
from dirsync.net.connection import CLOSE_SECONDS, Connection
from dirsync.net.link import Link
from dirsync.net.reasons import CREDENTIAL_DIFFERS, address_text, reason_of
from dirsync.net.tls import Credential
from dirsync.wire.codec import decode, encode
from dirsync.wire.framing import Payload
from dirsync.wire.meeting import PROTOCOL_MAJOR, Denied, Hello, Welcome
from dirsync.wire.messages import Reply, Request

_UNKNOWN_CA_ALERT = bytes([21, 3, 3, 0, 2, 2, 48])
"""A TLS record: fatal alert, unknown_ca (RFC 8446, section 6)."""


async def dial(host: str, port: int, credential: Credential, hello: Hello) -> tuple[Connection, Welcome]:
    """Connect, introduce ourselves, and return the connection, not entered yet, with the welcome.

    Raises Unreachable with the address and a reason, Refusal with the listener's reason, RemoteProtocolError where
    something else answers. Takes at most HANDSHAKE_SECONDS. The connection must be entered or closed.
    """
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            link = await _connect(host, port, credential)
            return await _introduce(link, hello)
    except ssl.SSLCertVerificationError as error:
        await _alert(host, port)
        raise Unreachable(f"{address_text(host, port)}: {reason_of(error)}") from error
    except OSError as error:
        raise Unreachable(f"{address_text(host, port)}: {reason_of(error)}") from error
    except Unreachable as error:
        raise Unreachable(f"{address_text(host, port)}: {error}") from error


async def _connect(host: str, port: int, credential: Credential) -> Link:
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(
        Link,
        host,
        port,
        ssl=credential.client_context(),
        server_hostname="dirsync",
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=CLOSE_SECONDS,
    )
    if not credential.is_held_by(link.transport.get_extra_info("ssl_object")):
        link.transport.abort()
        raise Unreachable(CREDENTIAL_DIFFERS)
    return link


async def _alert(host: str, port: int) -> None:
    """Tell the listener that its credential is not ours, for the people at its end.

    The alert that TLS makes for this is dropped by asyncio when a handshake fails, so it is sent by itself.
    """
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(_UNKNOWN_CA_ALERT)
            writer.close()
            await writer.wait_closed()
    except OSError:
        return  # whoever is told would only have had it easier


async def _introduce(link: Link, hello: Hello) -> tuple[Connection, Welcome]:
    is_met = False
    try:
        link.send(encode(Request(0, hello)))
        reply = decode(await _first_payload(link))
        match reply:
            case Reply(body=Welcome() as welcome):
                pass
            case Reply(body=Denied(reason)):
                raise Refusal(reason)
            case _:
                raise RemoteProtocolError(f"expected a welcome, received {type(reply).__name__}")
        if welcome.major != PROTOCOL_MAJOR:
            raise Refusal(other_version(welcome.major))
        is_met = True
    finally:
        if not is_met:
            link.transport.abort()
    terms = CLIENT_TERMS if hello.kind == "client" else SERVER_TERMS
    return Connection(link, is_dialler=True, terms=terms), welcome


async def _first_payload(link: Link) -> Payload:
    try:
        return await link.receive()
    except Unreachable as error:
        # A listener answers every Hello it can read: one that hangs up instead did not accept the certificate.
        raise Unreachable(f"{error} without a welcome; most likely {CREDENTIAL_DIFFERS}") from error


def other_version(major: int) -> str:
    """Return the line that says that the far end speaks another major version of the protocol."""
    older = "the other end" if major < PROTOCOL_MAJOR else "this end"
    return f"this is protocol version {PROTOCOL_MAJOR}, the other end speaks {major}: {older} needs an update"
