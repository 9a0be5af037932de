"""Answers, in Server A, a command that only prints: asks as any client does, and renders what comes back.

The one place where what decides and what shows meet inside a server; neither knows of the other.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from dirsync.coordinator.requests import ClientRequests
from dirsync.core.listing import Row
from dirsync.core.paths import parse_path
from dirsync.errors import DirsyncError, InvalidPath
from dirsync.render.answers import (
    listing_complaints,
    listing_pieces,
    locked_text,
    locks_text,
    status_text,
    unlocked_text,
)
from dirsync.wire.client_messages import (
    ListPart,
    ListReply,
    ListRequest,
    LockReply,
    LockRequest,
    LocksReply,
    LocksRequest,
    StatusReply,
    StatusRequest,
    UnlockReply,
    UnlockRequest,
)
from dirsync.wire.shortway import DECLINED, END, ERR, OUT, SEEN, decode_ask

_UTF8 = "utf-8"
_OUT_BYTES = 256 * 1024
_NAMES_IN_PIECE = 400
"""Even with the longest paths they fit into a frame."""


async def printed(requests: ClientRequests, payload: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of `dirsync.wire.shortway` that answer what was asked."""
    zone, words = decode_ask(payload)
    if zone != os.environb.get(b"TZ", b""):
        yield DECLINED  # times are shown as at the client
        return
    time.tzset()  # what is local may have changed since this server started
    try:
        match words:
            case [b"ls", *options]:
                async for piece in _listing(requests, is_json=b"--json" in options, is_long=b"--long" in options):
                    yield piece
                return
            case [b"lock" | b"unlock" as verb, name]:
                text = await (_lock if verb == b"lock" else _unlock)(requests, name)
            case [b"locks", *options]:
                locks = await requests.answer(LocksRequest())
                assert isinstance(locks, LocksReply)
                text = locks_text(locks.locks, is_json=b"--json" in options)
            case [b"status", *options]:
                status = await requests.answer(StatusRequest())
                assert isinstance(status, StatusReply)
                text = status_text(status, is_json=b"--json" in options)
            case _:
                yield DECLINED
                return
    except InvalidPath:
        yield DECLINED  # what a name is, is explained where names are read
        return
    except DirsyncError as error:
        yield ERR + " ".join(str(error).split()).encode(_UTF8, "backslashreplace")
        yield END + b"%d" % error.exit_code
        return
    for piece in _out(text):
        yield piece
    yield END + b"0"


def _out(text: str) -> Iterator[bytes]:
    """Yield what fits into frames, however much a name grows when it is escaped."""
    data = text.encode(_UTF8, "backslashreplace")
    for start in range(0, len(data), _OUT_BYTES):
        yield OUT + data[start : start + _OUT_BYTES]


async def _listing(requests: ClientRequests, *, is_json: bool, is_long: bool) -> AsyncGenerator[bytes, None]:
    rows: list[Row] = []
    reply = ListReply(b"", ())
    async with aclosing(requests.stream(ListRequest())) as parts:
        async for part in parts:
            if isinstance(part, ListPart):
                rows.extend(part.rows)
            elif isinstance(part, ListReply):
                reply = part
    yield SEEN + reply.pair_id.hex().encode()
    for start in range(0, len(rows), _NAMES_IN_PIECE):
        yield SEEN + b"\0".join([row.path for row in rows[start : start + _NAMES_IN_PIECE]])
    for text in listing_pieces(rows, reply.unreachable, is_json=is_json, is_long=is_long):
        for piece in _out(text):
            yield piece
        await asyncio.sleep(0)  # others have their turn: a long listing takes its time
    for complaint in listing_complaints(reply.unreachable):
        yield ERR + complaint.encode()
    yield END + (b"1" if reply.unreachable else b"0")


async def _lock(requests: ClientRequests, name: bytes) -> str:
    path = parse_path(name)
    reply = await requests.answer(LockRequest(path))
    assert isinstance(reply, LockReply)
    return locked_text(path, was_locked=reply.was_locked)


async def _unlock(requests: ClientRequests, name: bytes) -> str:
    path = parse_path(name)
    reply = await requests.answer(UnlockRequest(path))
    assert isinstance(reply, UnlockReply)
    return unlocked_text(path, reply.applied)
