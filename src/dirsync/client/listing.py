"""The composite listing as a client gets it: in parts, put together."""

from dataclasses import dataclass

from dirsync.client.calls import ServerA
from dirsync.core.entry import Role
from dirsync.core.listing import Row
from dirsync.wire.client_messages import ListPart, ListReply, ListRequest
from dirsync.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows, the pair they are of, and the servers that could not be asked."""

    pair_id: bytes
    rows: tuple[Row, ...]
    unreachable: tuple[Role, ...]


def ask_listing(server: ServerA) -> Listing:
    """Return the listing as of now. Raises as `ServerA.ask`."""
    rows: list[Row] = []

    def take(part: Message) -> None:
        if isinstance(part, ListPart):
            rows.extend(part.rows)

    reply = server.ask(ListRequest(), ListReply, on_part=take)
    return Listing(reply.pair_id, tuple(rows), reply.unreachable)
