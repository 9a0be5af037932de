"""Owns the mapping from what sockets and TLS raise to one line for people. Free of asyncio: blocking clients use it."""

import socket
import ssl

from dirsync.errors import CredentialError, ProtocolError

CREDENTIAL_DIFFERS = "the credential of this machine was refused or differs: both ends need the same key file"
STRANGER_CREDENTIAL = "it has another credential, or none; both ends need the same key file"

_ALERT_BY_ITSELF = "UNEXPECTED_MESSAGE"
"""What a dialler of ours sends whose handshake ended with our certificate."""
_CREDENTIAL_ALERTS = ("ALERT_UNKNOWN_CA", "CERTIFICATE", "ALERT_DECRYPT", "ALERT_ACCESS_DENIED")


def reason_of(error: BaseException | None) -> str:
    """Return why a connection could not be made or has ended; None is an ordinary end of the stream."""
    match error:
        case None:
            return "the far end closed the connection"
        case ssl.SSLCertVerificationError():
            return CREDENTIAL_DIFFERS
        case ssl.SSLError():
            return _tls_reason(error)
        case socket.gaierror():
            return "the name of the host is not known"
        case ConnectionRefusedError():
            return "nobody listens there"
        case ConnectionResetError() | BrokenPipeError():
            return "the far end broke the connection off"
        case TimeoutError():
            return "no answer in time"
        case OSError() if error.errno is None and "Connect call failed" in str(error):
            return "nobody listens there"  # asyncio joins the errors of several addresses into a text
        case OSError():
            return error.strerror or str(error) or type(error).__name__
        case _:
            return str(error) or type(error).__name__


def stranger_reason(error: BaseException) -> str | None:
    """Return why somebody who tried to connect was turned away; None where they just left."""
    match error:
        case TimeoutError() | ConnectionAbortedError():
            return "it did not introduce itself in time"
        case CredentialError() | ssl.SSLCertVerificationError():
            return STRANGER_CREDENTIAL
        case ssl.SSLEOFError():
            return None
        case ssl.SSLError() if _tls_reason(error) == CREDENTIAL_DIFFERS or error.reason == _ALERT_BY_ITSELF:
            return STRANGER_CREDENTIAL
        case ssl.SSLError() | ProtocolError():
            return "it does not speak as dirsync does"
        case _:
            return None


def address_text(host: str, port: int) -> str:
    """Return `host:port` as it is written in a configuration."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls_reason(error: ssl.SSLError) -> str:
    name = error.reason or ""
    if any(alert in name for alert in _CREDENTIAL_ALERTS):
        return CREDENTIAL_DIFFERS
    if name in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "something else than dirsync answers there"
    return f"TLS failed ({name.lower().replace('_', ' ') or error})"
