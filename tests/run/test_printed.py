"""What Server A says to a command that only prints: how it is cut, who has a turn meanwhile, what is declined."""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from dirsync.coordinator.requests import ClientRequests
from dirsync.core.entry import Role
from dirsync.core.listing import Row
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from dirsync.limits import FRAME_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX
from dirsync.run.printed import printed
from dirsync.wire.client_messages import ListPart, ListReply
from dirsync.wire.messages import Message
from dirsync.wire.shortway import DECLINED, END, ERR, OUT, SEEN, encode_ask

ROWS = 800


class Requests:
    """Lists files, and refuses everything else."""

    def __init__(self, name: bytes) -> None:
        self._name = RelPath(name)

    async def stream(self, _: Message) -> AsyncGenerator[Message, None]:
        for start in range(0, ROWS, 400):
            yield ListPart(tuple(Row(self._name, n, 0, (Role.A,)) for n in range(start, start + 400)))
        yield ListReply(b"\x01\x02", (Role.B,))

    async def answer(self, _: Message) -> Message:
        raise Refusal("no,\nnever")


async def pieces_of(*words: bytes, zone: bytes | None = None, name: bytes = b"x") -> list[bytes]:
    requests = cast("ClientRequests", Requests(name))
    here = os.environb.get(b"TZ", b"") if zone is None else zone
    return [piece async for piece in printed(requests, encode_ask(here, list(words)))]


@pytest.mark.parametrize(
    ("options", "letter", "size"),
    # As JSON each of these bytes becomes six.
    [([], b"x", PATH_BYTES_MAX), ([b"--json"], b"\xff", PATH_BYTES_MAX // 4)],
    ids=["text", "json"],
)
async def test_the_longest_names_fit_into_frames(options: list[bytes], letter: bytes, size: int) -> None:
    longest = b"/".join([letter * NAME_BYTES_MAX] * (size // (NAME_BYTES_MAX + 1)))
    pieces = await pieces_of(b"ls", *options, name=longest)
    assert max(map(len, pieces)) <= FRAME_BYTES_MAX
    seen = b"\0".join(piece[1:] for piece in pieces if piece[:1] == SEEN)
    assert seen == b"\0".join([b"0102"] + [longest] * ROWS)
    assert b"".join(piece[1:] for piece in pieces if piece[:1] == OUT).count(b"\n") == (1 if options else ROWS)
    assert pieces[-2:] == [ERR + b"server B cannot be reached: what only it holds is not listed", END + b"1"]


async def test_others_have_their_turn_while_a_listing_is_shown() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await pieces_of(b"ls")
    counting.cancel()
    assert turns >= ROWS // 400


async def test_what_is_refused_is_one_line_and_a_status() -> None:
    assert await pieces_of(b"lock", b"x") == [ERR + b"no, never", END + b"1"]


@pytest.mark.parametrize("words", [[], [b"wait"], [b"lock"], [b"lock", b"a", b"b"], [b"lock", b"../a"]])
async def test_what_is_not_asked_in_this_form_is_declined(words: list[bytes]) -> None:
    assert await pieces_of(*words) == [DECLINED]


async def test_times_are_not_shown_for_another_zone() -> None:
    assert await pieces_of(b"ls", zone=b"Somewhere/Else") == [DECLINED]
