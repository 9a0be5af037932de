"""A session that is cut at every frame, and in the middle of it: nothing is done in part, twice, or not at all.

Coordinator, peer and everything between them are the real ones, joined in memory; the two trees are in memory too, so
what is applied, kept and captured can be counted.
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName
from dirsync.core.paths import RelPath
from dirsync.errors import DirsyncError, Unreachable
from dirsync.peer.sessions import Sessions
from dirsync.replica.remote import RemoteReplica
from dirsync.run.role_a import _unless_ended as unless_ended
from dirsync.wire.codec import decode
from dirsync.wire.framing import HEADER_BYTES
from dirsync.wire.meeting import Hello, Welcome
from dirsync.wire.messages import Notice, Part, Reply, Request
from tests.support.coordinated import World
from tests.support.memory_link import joined
from tests.support.virtual_time import in_virtual_time

SMALL, LARGE = b"small ", b"large " * 12_000
HELD_STATES = 4
RECONNECT_SECONDS = 0.2

KINDS = {
    "Request SnapshotRequest", "Part SnapshotPart", "Request HoldRequest", "Request UnholdRequest",
    "Request ReleaseRequest", "Request ApplyRequest", "Reply ApplyReply", "Request StageRequest", "Reply StageReply",
    "Request PutRequest", "Part Chunk", "Reply PutReply", "Request SupplyRequest", "Request FetchRequest",
    "Reply FetchReply", "Request LookRequest", "Reply LookReply", "Notice ReportsNotice", "Notice EventsNotice",
    "Request HistoryRequest", "Reply HistoryReply", "Reply Done", "Part Done", "Notice Done", "Fault",
}  # fmt: skip
"""What crosses in one round."""


def kind_of(frame):
    envelope = decode(frame[HEADER_BYTES:])
    name = type(envelope).__name__
    return f"{name} {type(envelope.body).__name__}" if isinstance(envelope, Request | Reply | Part | Notice) else name


class Scissors:
    """Counts the frames of a session, and cuts at one of them: `share` of the way through it, 1 for after it."""

    def __init__(self):
        self.seen = []
        self.cut = Counter()
        self._is_it = None
        self._share = 1.0

    def arm(self, number, kind, share):
        """Cut at the frame with this number, of this kind or of any (None), counted from now."""
        self.seen = []
        self._share = share
        self._is_it = lambda: (
            number == (len(self.seen) if kind is None else self.seen.count(kind)) - 1
            and (kind in (None, self.seen[-1]))
        )

    def disarm(self):
        self._is_it = None

    def passing(self, wire, frame):
        self.seen.append(kind_of(frame))
        if self._is_it is None or not self._is_it():
            return frame
        self._is_it = None
        self.cut[self.seen[-1]] += 1
        wire.break_off()
        return frame[: int(len(frame) * self._share)]


class Pair(World):
    """A world whose B is a peer at the far end of two connections, which Server A makes again whenever they end."""

    def __init__(self, state):
        super().__init__(state)
        self.scissors = Scissors()
        self.sessions = Sessions(self.b, lambda _: Welcome(1, 0, Role.B), self._begin, lambda *_: None)
        self.a.supply_bytes = self.b.supply_bytes = 30_000
        self.made = 0
        self.control = None
        self._tasks = None

    async def _begin(self, _):
        await asyncio.sleep(0)

    @asynccontextmanager
    async def connected(self):
        """Have A's replica attached, and B's met again and again."""
        async with asyncio.TaskGroup() as self._tasks:
            self.attach(Role.A)
            keeping = self._tasks.create_task(self._keep())
            try:
                yield
            finally:
                keeping.cancel()

    async def _keep(self):
        while True:
            self.made += 1
            with suppress(Unreachable):
                await self._meet(b"%d" % self.made)
            await asyncio.sleep(RECONNECT_SECONDS)

    def _dial(self, kind, session):
        near, far, wire = joined()
        wire.passing = self.scissors.passing
        hello = Hello(1, 0, kind, replica_id=b"a", session=session)
        assert isinstance(self.sessions.meet(hello), Welcome)
        self._tasks.create_task(self._take(hello, far))
        return near

    async def _take(self, hello, far):
        with suppress(Unreachable):
            await self.sessions.take(hello, far)

    async def _meet(self, session):
        async with self._dial("control", session) as control:
            await asyncio.sleep(0)
            async with self._dial("bulk", session) as bulk:
                remote = RemoteReplica(Role.B, control, bulk, self.tally.add, on_event=lambda _: None)
                self.control = control
                await unless_ended(self.coordinator.attach(Role.B, remote), bulk)


def path(text):
    return RelPath(text.encode())


def plant(pair):
    """What stands on both sides before the round."""
    for replica, name in ((pair.a, "a"), (pair.b, "b")):
        replica.mkdir(path(name))
        for kind in ("changed", "gone", "moved", "touched"):
            replica.write(path(f"{name}/{kind}"), f"{name} {kind} old".encode())
        replica.write(path(f"{name}/large"), LARGE + name.encode())
    pair.a.write(path("held"), b"held 0")


def edit(pair, moment):
    """Changes of each kind on each side, in two moments; no path is changed on both."""
    for replica, name in ((pair.a, "a"), (pair.b, "b")):
        if moment == "apart":
            replica.write(path(f"{name}/changed"), f"{name} changed new".encode())
            replica.write(path(f"{name}/large"), LARGE + b"new " + name.encode())
            replica.remove(path(f"{name}/gone"))
        else:
            old = replica.read(path(f"{name}/moved"))
            replica.remove(path(f"{name}/moved"))
            replica.write(path(f"{name}/moved to"), old)
            replica.chmod(path(f"{name}/touched"), 0o600)
            replica.write(path(f"{name}/added"), f"{name} added".encode() * 500)
            replica.mkdir(path(f"{name}/directory"))
            replica.link(path(f"{name}/link"), b"anywhere")


EXPECTED = {
    f"{name}/{rest}": content
    for name in "ab"
    for rest, content in {
        "changed": f"{name} changed new".encode(),
        "moved to": f"{name} moved old".encode(),
        "touched": f"{name} touched old".encode(),
        "large": LARGE + b"new " + name.encode(),
        "added": f"{name} added".encode() * 500,
        "link": b"anywhere",
    }.items()
} | {"held": b"held 4"}

KEPT_AT_A = Counter({"b/changed": 1, "b/gone": 1, "b/large": 1, "held": HELD_STATES})
KEPT_AT_B = Counter({"a/changed": 1, "a/gone": 1, "a/large": 1})


def contents(replica):
    return {found.decode(): replica.read(found) for found in replica.tree() if replica.read(found) is not None}


def kept(replica):
    """Return how many versions of each path are kept; a rename may be done as a deletion and an addition."""
    paths = [version.path.decode() for version, _ in replica._versions.values()]
    return Counter(found for found in paths if not found.endswith("/moved"))


async def begin_round(pair):
    """Start from two equal trees with nothing kept."""
    for replica in (pair.a, pair.b):
        for found in sorted(replica.tree(), reverse=True):
            replica.remove(found)
    await pair.settle()
    plant(pair)
    await pair.settle()
    pair.a._versions.clear()
    pair.b._versions.clear()
    pair.b._staged.clear()
    pair.events.clear()


async def play(pair, number=-1, kind=None, share=1.0):
    """The round, in a new session: changes made while apart, a lock, more changes, held updates, questions, unlock."""
    held = path("held")
    pair.scissors.arm(number, kind, share)
    sessions = pair.made
    await pair.control.close()
    edit(pair, "apart")
    await pair.until(lambda: pair.made > sessions)
    await pair.coordinator.holds.lock(held)
    await pair.until(lambda: held in pair.b._held)
    edit(pair, "together")
    for number in range(1, HELD_STATES + 1):
        size = 1 if number % 2 else 20_000
        pair.b.write(held, b"held %d" % number * size if number < HELD_STATES else b"held 4")
        pair.sessions.forward(Event(number, Role.B, EventName.DETECTED, held, {}))
        await asyncio.sleep(0.01)
    for question in (lambda b: b.history(held), lambda b: b.restore("nothing")):
        # Answered, refused, or not answered at all.
        with suppress(DirsyncError, KeyError):
            await question(pair.coordinator.replicas[Role.B])
    await pair.until(lambda: pair.coordinator.holds.depth(held) == HELD_STATES)
    applied = await pair.coordinator.holds.unlock(held)
    await pair.settle()
    pair.scissors.disarm()
    return applied


def check(pair, applied):
    assert applied == HELD_STATES
    assert [fields["remaining"] for fields in pair.said(EventName.APPLIED)] == [3, 2, 1, 0]
    assert contents(pair.a) == contents(pair.b) == EXPECTED
    assert kept(pair.a) == KEPT_AT_A
    assert kept(pair.b) == KEPT_AT_B
    assert not pair.b._captures
    assert not pair.said(EventName.ERROR)
    assert not pair.said(EventName.CONFLICT)
    assert len(pair.said(EventName.QUEUED)) == HELD_STATES


async def rehearse(pair):
    """Play a round that is not cut, and return the frames that crossed."""
    await begin_round(pair)
    check(pair, await play(pair))
    assert set(pair.scissors.seen) >= KINDS, KINDS - set(pair.scissors.seen)
    return list(pair.scissors.seen)


async def cut_at_each(pair, places):
    for number, kind, share in places:
        await begin_round(pair)
        check(pair, await play(pair, number, kind, share))


@pytest.mark.timeout(300)
@in_virtual_time
async def test_a_session_is_cut_at_a_frame_of_each_kind(tmp_path):
    async with Pair(tmp_path) as pair, pair.connected():
        await rehearse(pair)
        await cut_at_each(pair, [(0, kind, 0.5 if number % 2 else 1.0) for number, kind in enumerate(sorted(KINDS))])
        assert pair.scissors.cut == dict.fromkeys(KINDS, 1)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, 1.0])
@in_virtual_time
async def test_a_session_is_cut_at_every_frame(tmp_path, share):
    async with Pair(tmp_path) as pair, pair.connected():
        frames = await rehearse(pair)
        await cut_at_each(pair, [(number, None, share) for number in range(len(frames))])
        assert pair.scissors.cut.total() > 0.9 * len(frames)
