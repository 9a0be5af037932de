"""A far end that has the credential and says anything the protocol can express, in any order.

It may waste its own time. It does not end a server, keeps nobody else from being served, and reaches nothing outside.
"""

import asyncio
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirsync.core.entry import Digest, Role
from dirsync.core.paths import RelPath
from dirsync.errors import DirsyncError
from dirsync.net.connection import Connection
from dirsync.peer.sessions import Sessions
from dirsync.replica.local import LocalReplica
from dirsync.replica.remote import RemoteReplica
from dirsync.run.role_a import _unless_ended as unless_ended
from dirsync.store.database import Database
from dirsync.wire.codec import decode, encode
from dirsync.wire.meeting import Chunk, Done, Hello, Welcome
from dirsync.wire.messages import Cancel, Fault, Message, Notice, Part, Reply, Request
from dirsync.wire.replica_messages import (
    ApplyReply,
    ApplyRequest,
    EventsNotice,
    FetchReply,
    FetchRequest,
    HistoryReply,
    HistoryRequest,
    HoldRequest,
    LookReply,
    LookRequest,
    PutReply,
    PutRequest,
    ReportsNotice,
    RestoreReply,
    RestoreRequest,
    SnapshotPart,
    SnapshotRequest,
    StageReply,
    StageRequest,
    SupplyRequest,
)
from tests.support.coordinated import World
from tests.support.fake_replica import digest_of
from tests.support.memory_link import joined_links
from tests.support.trees import at
from tests.support.virtual_time import run
from tests.wire.values import PLAIN, digests, naturals, values_of

SECONDS_MAX = 60
CONTENTS = [b"", b"x", b"content of a file", b"y" * 70_000]
SIMPLE = PLAIN | {
    RelPath: st.sampled_from([at(text) for text in ("f", "d", "d/f", "d/e/f", "f/g", "held", "new")]),
    bytes: st.sampled_from(CONTENTS) | st.binary(max_size=40),
    int: st.integers(0, 40) | naturals,
}
SIMPLE[Digest] = st.sampled_from([digest_of(content) for content in CONTENTS]) | digests
SIMPLE[bytes] = st.sampled_from(CONTENTS) | st.binary(max_size=40)

bodies = values_of(Message, plain=SIMPLE)
numbers = st.integers(0, 9)
asked = st.builds(Request, numbers, bodies)
answered = st.builds(Reply, numbers, bodies) | st.builds(
    Fault, numbers, st.sampled_from(["RootLost", "?"]), st.just("no")
)
parts = st.builds(Part, numbers, bodies)
unasked = st.builds(Notice, bodies | values_of(ReportsNotice, plain=SIMPLE) | values_of(EventsNotice, plain=SIMPLE))
anything = st.lists(asked | parts | unasked | answered | st.builds(Cancel, numbers), max_size=30)


@asynccontextmanager
async def peer(base):
    """A Server B on a real directory."""
    (base / "root").mkdir()
    (base / "outside").mkdir()
    (base / "outside" / "f").write_bytes(b"outside")
    (base / "root" / "f").write_bytes(b"content of a file")
    (base / "root" / "link").symlink_to("../outside")
    database = Database.open(base / "state")
    try:
        async with LocalReplica(Role.B, str(base / "root"), base / "state", database, lambda *_: None) as replica:
            yield Sessions(replica, lambda _: Welcome(1, 0, Role.B), _nothing, lambda *_: None)
    finally:
        database.close()


async def _nothing(_):
    await asyncio.sleep(0)


async def say(link, envelopes):
    """Send these to whoever listens, and hear whatever comes, until the far end has had enough or all is said."""

    async def hear():
        with suppress(DirsyncError):
            while True:
                await link.receive()

    hearing = asyncio.create_task(hear())
    with suppress(DirsyncError):
        for envelope in envelopes:
            link.send(encode(envelope))
            await asyncio.sleep(0)
    await asyncio.wait([hearing], timeout=0.02)
    await link.close(0.1)
    await hearing


async def be_hostile_to_b(base, on_control, on_bulk):
    async with peer(base) as sessions, asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:

        def dial(kind):
            near, far, _ = joined_links()
            hello = Hello(1, 0, kind, replica_id=b"a", session=b"1")
            sessions.meet(hello)
            tasks.create_task(sessions.take(hello, Connection(far, is_dialler=False)))
            return near

        control = dial("control")
        await asyncio.sleep(0)
        bulk = dial("bulk")
        await asyncio.gather(say(control, on_control), say(bulk, on_bulk))
        control = dial("control")
        await asyncio.sleep(0)
        async with Connection(control, is_dialler=True) as connection:
            replica = RemoteReplica(Role.B, connection, connection, lambda *_: None, on_event=lambda _: None)
            seen = [path async for batch in replica.snapshot() for path, _ in batch]
            assert b"link" in seen
            await replica.look(is_full=True)
    assert [entry.name for entry in (base / "outside").iterdir()] == ["f"]
    assert (base / "outside" / "f").read_bytes() == b"outside"


@pytest.mark.timeout(300)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(anything, anything)
def test_nothing_that_a_server_a_says_ends_server_b(on_control, on_bulk):
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(be_hostile_to_b(Path(home), on_control, on_bulk), debug=True)


@pytest.mark.faults
@pytest.mark.timeout(900)
@settings(max_examples=200, deadline=None)
@given(anything, anything)
def test_nothing_that_a_server_a_says_ends_server_b_at_length(on_control, on_bulk):
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(be_hostile_to_b(Path(home), on_control, on_bulk), debug=True)


ANSWERS = {
    SnapshotRequest: (SnapshotPart, Done),
    LookRequest: (LookReply,),
    FetchRequest: (FetchReply,),
    SupplyRequest: (Chunk, Done),
    StageRequest: (StageReply,),
    PutRequest: (PutReply,),
    ApplyRequest: (ApplyReply,),
    HistoryRequest: (HistoryReply,),
    RestoreRequest: (RestoreReply,),
}
"""What answers a request: parts, then the reply; Done where nothing is said here."""


def answers_to(kind):
    """Return a strategy for answers that fit a request, and now and then do not."""
    *part, reply = ANSWERS.get(kind, (Done,))
    some_parts = st.lists(values_of(part[0], plain=SIMPLE), max_size=3) if part else st.just([])
    fitting = st.tuples(some_parts, values_of(reply, plain=SIMPLE))
    return st.lists(
        st.one_of([fitting] * 5 + [st.tuples(st.lists(bodies, max_size=2), bodies)]), min_size=1, max_size=8
    )


answers = st.fixed_dictionaries({kind: answers_to(kind) for kind in (*ANSWERS, HoldRequest)})
reports = st.lists(st.builds(Notice, values_of(ReportsNotice, plain=SIMPLE)) | unasked, max_size=12)


class Liar:
    """A Server B that answers each request with the next answer to its kind, and says something unasked each time."""

    def __init__(self, answers, notices):
        self._answers = {kind: list(each) for kind, each in answers.items()}
        self._notices = list(notices)

    async def lie(self, link):
        with suppress(DirsyncError):
            while True:
                envelope = decode(await link.receive())
                if not isinstance(envelope, Request):
                    continue
                if self._notices:
                    link.send(encode(self._notices.pop()))
                left = self._answers.get(type(envelope.body), self._answers[HoldRequest])
                if not left:
                    break
                parts, reply = left.pop()
                for part in parts:
                    link.send(encode(Part(envelope.id, part)))
                link.send(encode(Reply(envelope.id, reply)))
        await link.close(0.1)


async def be_hostile_to_a(state, answers, notices):
    async with World(state) as world:
        for name in ("f", "held"):
            world.a.write(at(name), b"content of a file")
        world.a.mkdir(at("d"))
        world.attach(Role.A)
        await world.until(lambda: Role.A in world.coordinator.ready)
        await world.coordinator.holds.lock(at("held"))
        liar = Liar(answers, notices)
        for _ in range(3):
            links = [joined_links() for _ in range(2)]
            lying = [asyncio.create_task(liar.lie(far)) for _, far, _ in links]
            async with (
                Connection(links[0][0], is_dialler=True) as control,
                Connection(links[1][0], is_dialler=True) as bulk,
            ):
                remote = RemoteReplica(Role.B, control, bulk, world.tally.add, on_event=lambda _: None)
                # A far end that breaks the protocol, or falls silent, ends the session and nothing else.
                with suppress(DirsyncError):
                    await unless_ended(world.coordinator.attach(Role.B, remote), bulk)
            await asyncio.gather(*lying)
        assert not world._running.done()
        world.attach(Role.B)
        await world.coordinator.holds.unlock(at("held"))
        await world.settle()


@pytest.mark.timeout(300)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(answers, reports)
def test_nothing_that_a_server_b_says_ends_server_a(answers, notices):
    with tempfile.TemporaryDirectory() as home:
        run(be_hostile_to_a(Path(home), answers, notices))


@pytest.mark.faults
@pytest.mark.timeout(900)
@settings(max_examples=200, deadline=None)
@given(answers, reports)
def test_nothing_that_a_server_b_says_ends_server_a_at_length(answers, notices):
    with tempfile.TemporaryDirectory() as home:
        run(be_hostile_to_a(Path(home), answers, notices))
