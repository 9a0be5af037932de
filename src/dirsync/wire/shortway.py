"""Owns how a client and Server A prove the credential to each other on a Unix socket, and what is said after that.

    A -> client   GREETING, 32 random bytes (its nonce)
    client -> A   32 random bytes (its own), its proof
    A -> client   its proof
    client -> A   one frame: what is asked
    A -> client   frames: pieces of the answer, an end last

A proof is a keyed MAC over both nonces and the side that proves, so neither can be used twice or sent back. Up to the
frames everything has a fixed length. This is all that a command which only prints has to know: it starts without TLS,
messages and rendering, which take three times as long as the rest of it.
"""

from blake3 import blake3

from dirsync.errors import RemoteProtocolError

SOCKET_NAME = "client.sock"
GREETING = b"dirsync short way 1\n"
NONCE_BYTES = 32
PROOF_BYTES = 32
ASK_BYTES_MAX = 64 * 1024
"""What may be asked; checked before anything is buffered."""

OUT = b"o"
"""Piece: text for standard output."""
ERR = b"e"
"""Piece: a line for standard error, without its end and the name of the command."""
SEEN = b"s"
"""Pieces, to be joined by NUL: the id of the pair in hexadecimal, then names of the listing: what is remembered."""
BEAT = b"b"
"""Piece: nothing yet, but the server is alive."""
END = b"x"
"""Last piece: the exit status, in digits."""
DECLINED = b"d"
"""Last piece: asked in this form it cannot be answered; nothing was done."""

_KINDS = frozenset((OUT, ERR, SEEN, BEAT, END, DECLINED))
_CONTEXT = "dirsync 2026-11-29 short way: proof of the credential"
_BEGIN, _FINISH = b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"


def proof_key(credential: bytes) -> bytes | None:
    """Return the key of the proofs, derived from the private key in the credential file; None where it holds none.

    However the file ends its lines: what counts is the key.
    """
    _, begin, rest = credential.partition(_BEGIN)
    secret, finish, _ = rest.partition(_FINISH)
    if not begin or not finish:
        return None
    return blake3(b"".join(secret.split()), derive_key_context=_CONTEXT).digest()


def client_proof(key: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    """Return what proves to this server, this once, that the client has the key."""
    return blake3(b"client" + server_nonce + client_nonce, key=key).digest()


def server_proof(key: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    """Return what proves to this client, this once, that the server has the key."""
    return blake3(b"server" + server_nonce + client_nonce, key=key).digest()


def is_proof(key: bytes, given: bytes, expected: bytes) -> bool:
    """Return whether the proof is the expected one, in a time that says nothing about either.

    What is compared are their MACs, which nobody without the key can aim at; `hmac.compare_digest` would cost the
    client the 4 ms in which OpenSSL is loaded.
    """
    return blake3(given, key=key).digest() == blake3(expected, key=key).digest()


def encode_ask(zone: bytes, words: list[bytes]) -> bytes:
    """Return what asks for the answer to these words of a command; `zone` is the client's $TZ, empty if it has none."""
    return b"\0".join([zone, *words])


def decode_ask(payload: bytes) -> tuple[bytes, list[bytes]]:
    """Invert `encode_ask`."""
    zone, *words = payload.split(b"\0")
    return zone, words


def piece_of(payload: bytes) -> tuple[bytes, bytes]:
    """Return kind and content of a piece. Raises RemoteProtocolError."""
    kind = payload[:1]
    if kind not in _KINDS:
        raise RemoteProtocolError("not a piece of an answer")
    return kind, payload[1:]
