"""What every connection says: the meeting, the heartbeat, and the answers that need no words of their own."""

from dataclasses import dataclass

from dirsync.core.chunks import ContentBytes
from dirsync.core.entry import Role

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """The dialler introduces itself. `kind` is `control`, `bulk` or `client`.

    A client leaves the ids empty. `peer_id` is the replica A's archive was made with, `session` joins a bulk
    connection to its control connection, `ignore` are A's patterns, `time_ns` A's clock. `attempt` counts the sessions
    that A began in its epoch: of two greetings it tells which was sent later, whichever arrives first.
    """

    major: int
    minor: int
    kind: str
    replica_id: bytes = b""
    pair_id: bytes = b""
    peer_id: bytes = b""
    epoch: int = 0
    session: bytes = b""
    time_ns: int = 0
    capabilities: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    machine: str = ""
    root: tuple[int, int] = (0, 0)
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The listener accepts. Only now is anybody connected. `root` is device and inode of the directory.

    `seen_epoch` is the epoch in which it last served whoever says hello; 0 where it never did.
    """

    major: int
    minor: int
    role: Role
    replica_id: bytes = b""
    pair_id: bytes = b""
    epoch: int = 0
    time_ns: int = 0
    capabilities: tuple[str, ...] = ()
    machine: str = ""
    root: tuple[int, int] = (0, 0)
    seen_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Denied:
    """The listener declines, with the reason for people; it closes the connection next."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Notice: still here."""


@dataclass(frozen=True, slots=True)
class Done:
    """Reply: it was done; there is nothing more to say."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a stream of content."""

    data: ContentBytes
