"""The remote replica keeps the contract: over a link in memory, and over TLS on the loopback."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from dirsync.core.entry import Directory, Role
from dirsync.core.events import Event, EventName
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Back, ContentAt, Failed, Lost, Step
from dirsync.errors import Refusal, RemoteProtocolError, RootLost, StateError, Unreachable
from dirsync.limits import CHUNK_BYTES, INLINE_BYTES_MAX
from dirsync.net.connection import REQUESTS_MAX
from dirsync.net.dial import dial
from dirsync.net.flow import WINDOW_PARTS
from dirsync.net.listen import listen
from dirsync.net.tls import Credential, make_credential
from dirsync.replica.remote import RemoteReplica
from dirsync.replica.serve import ReplicaServer
from dirsync.wire.meeting import Chunk, Done, Hello, Welcome
from dirsync.wire.replica_messages import (
    ApplyReply,
    ApplyRequest,
    EventsNotice,
    FetchReply,
    LookRequest,
    PutRequest,
    SnapshotPart,
    SnapshotRequest,
    StageReply,
)
from tests.replica.conformance import (
    LARGE,
    ReplicaConformance,
    change_of,
    chunks_of,
    file_at,
    file_of,
    ready,
    snapshot_of,
    step,
    supplied,
)
from tests.support.fake_replica import FakeReplica
from tests.support.memory_link import joined


class RemoteSite:
    """A remote replica, the people at its far end, and what was counted and heard at the near one."""

    def __init__(self, fake, control, bulk):
        self.fake = fake
        self.control = control
        self.bulk = bulk
        self.tally = {}
        self.events = []
        self.replica = RemoteReplica(fake.role, control, bulk, self._count, on_event=self.events.append)

    def __getattr__(self, name):
        return getattr(self.fake, name)

    def _count(self, key, count):
        self.tally[key] = self.tally.get(key, 0) + count


@asynccontextmanager
async def remote_in_memory(fake):
    control, far_control, wire = joined()
    bulk, far_bulk, _ = joined()
    server = ReplicaServer(fake)
    far_bulk.serve(server.answer_bulk)
    async with asyncio.TaskGroup() as tasks:
        session = tasks.create_task(server.serve(far_control))
        async with far_bulk, control, bulk:
            site = RemoteSite(fake, control, bulk)
            site.far_control, site.session, site.wire = far_control, session, wire
            yield site


@asynccontextmanager
async def remote_over_tls(fake, directory):
    make_credential(directory / "key.pem")
    credential = Credential.load(directory / "key.pem")
    server = ReplicaServer(fake)

    async def take(hello, connection):
        if hello.kind == "bulk":
            connection.serve(server.answer_bulk)
            async with connection:
                await connection.wait_closed()
        else:
            await server.serve(connection)

    async with asyncio.TaskGroup() as tasks:
        listener = await listen("127.0.0.1", 0, credential, lambda _: Welcome(1, 0, Role.B), take, tasks)
        control, welcome = await dial("127.0.0.1", listener.port, credential, Hello(1, 0, "control"))
        bulk, _ = await dial("127.0.0.1", listener.port, credential, Hello(1, 0, "bulk"))
        assert welcome.role is Role.B
        async with control, bulk:
            yield RemoteSite(fake, control, bulk)
        await listener.close()


class FakeSite:
    """The fake by itself: what the others are compared with."""

    def __init__(self):
        self.replica = FakeReplica()

    def __getattr__(self, name):
        return getattr(self.replica, name)


class TestFake(ReplicaConformance):
    @pytest.fixture
    async def site(self):
        return FakeSite()


class TestOverMemory(ReplicaConformance):
    @pytest.fixture
    async def site(self):
        async with remote_in_memory(FakeReplica()) as site:
            yield site


class TestOverTls(ReplicaConformance):
    @pytest.fixture
    async def site(self, tmp_path):
        async with remote_over_tls(FakeReplica(), tmp_path) as site:
            yield site


@pytest.fixture
async def site():
    async with remote_in_memory(FakeReplica()) as site:
        yield site


# Counting.


async def test_content_is_counted_where_it_crosses(site):
    await ready(site)
    site.write(b"inline", b"12345")
    await change_of(site, b"inline")
    assert site.tally == {b"inline": 5}
    site.write(b"large", LARGE)
    large = await file_at(site, b"large")
    await supplied(site.replica, ContentAt(b"large", large), 100)
    assert site.tally == {b"inline": 5, large.digest: len(LARGE) - 100}
    site.write(b"middle", b"m" * INLINE_BYTES_MAX)
    middle = await file_at(site, b"middle")
    site.tally.clear()
    await site.replica.fetch([ContentAt(b"middle", middle)])
    assert site.tally == {b"middle": INLINE_BYTES_MAX}


async def test_content_is_counted_where_it_is_sent(site):
    await ready(site)
    await site.replica.apply([step(b"f", None, file_of(b"abc"), b"abc")])
    wanted = file_of(LARGE)
    await site.replica.put(wanted.digest, wanted.size, 0, chunks_of(LARGE))
    await site.replica.apply([step(b"g", None, wanted)])
    assert site.tally == {b"f": 3, wanted.digest: len(LARGE)}


async def test_chunks_of_any_size_are_cut_to_what_a_part_may_hold(site):
    wanted = file_of(LARGE)
    assert await site.replica.put(wanted.digest, wanted.size, 0, chunks_of(LARGE, 2 * CHUNK_BYTES + 1))
    assert await site.replica.put(file_of(b"").digest, 0, 0, chunks_of(b""))


async def test_where_one_message_of_an_apply_fails_the_others_tell_what_was_done(site, monkeypatch):
    await ready(site)
    content = b"m" * INLINE_BYTES_MAX
    steps = [step(b"f%02d" % n, None, file_of(content), content) for n in range(40)]
    real, sizes = site.fake.apply, []

    async def apply(some):
        sizes.append(len(some))
        if len(sizes) == 1:
            raise StateError("the disk of the state directory is full")
        return await real(some)

    monkeypatch.setattr(site.fake, "apply", apply)
    results = await site.replica.apply(steps)
    assert len(sizes) > 1
    failed = Failed("the disk of the state directory is full")
    assert [result == failed for result in results] == [n < sizes[0] for n in range(40)]
    assert [isinstance(result, Applied) for result in results] == [n >= sizes[0] for n in range(40)]


# Reports.


async def test_nothing_is_reported_before_the_first_snapshot(site):
    site.write(b"f", b"early")
    await site.replica.look(is_full=False)
    assert await snapshot_of(site.replica) != {}
    site.write(b"g", b"late")
    assert [report.path for report in await site.replica.reports()] == [b"g"]


async def test_reports_that_wait_when_a_snapshot_begins_are_superseded(site):
    await ready(site)
    site.write(b"f", b"old")
    site.lose_root("away")
    site.find_root()
    await arrived(site)
    await ready(site)
    site.write(b"g", b"new")
    # The turns of the root are not superseded: whether it is another one is in no snapshot.
    assert list(await site.replica.reports()) == [Lost("away"), Back(is_new=False)]
    assert [report.path for report in await site.replica.reports()] == [b"g"]


async def test_what_is_believed_does_not_cross(site):
    """However much stands there: as believed it costs the digests, with one change the rows of one bucket."""
    for number in range(3_000):
        site.fake.write(b"f%d" % number, b"%d" % number)
    first = await snapshot_of(site.replica)
    sizes = {}
    for name, believed in {
        "all": {},
        "none": first,
        "one": first | {b"f7": file_of(b"old"), b"gone": file_of(b"")},
    }.items():
        before = site.wire.crossed
        rows = [row async for batch in site.replica.snapshot(believed.items()) for row in batch]
        sizes[name] = site.wire.crossed - before
        assert len(rows) == len(dict(rows))
        assert dict(rows) == first
    assert sizes["none"] < sizes["one"] < sizes["all"] / 4


@pytest.mark.parametrize("equal", [(1_024,), (5, 5)])
async def test_what_was_not_asked_about_cannot_be_as_believed(equal):
    async def lie(request, incoming):
        await incoming.send(SnapshotPart((), equal))
        return Done()

    control, far, _ = joined()
    far.serve(lie)
    async with far, control:
        replica = RemoteReplica(Role.B, control, control, lambda *_: None, on_event=lambda _: None)
        with pytest.raises(RemoteProtocolError):
            [batch async for batch in replica.snapshot([(b"f", file_of(b""))])]


async def test_nothing_is_as_believed_where_nothing_was_believed():
    async def lie(request, incoming):
        await incoming.send(SnapshotPart((), (0,)))
        return Done()

    control, far, _ = joined()
    far.serve(lie)
    async with far, control:
        replica = RemoteReplica(Role.B, control, control, lambda *_: None, on_event=lambda _: None)
        with pytest.raises(RemoteProtocolError):
            await snapshot_of(replica)


async def test_an_inventory_without_end_is_not_taken(monkeypatch):
    monkeypatch.setattr("dirsync.replica.remote.INVENTORY_BYTES_MAX", 100_000)
    sent = 0

    async def lie(request, incoming):
        nonlocal sent
        while True:
            await incoming.send(SnapshotPart(((b"f%d" % sent, file_of(b"")),)))
            sent += 1

    control, far, _ = joined()
    far.serve(lie)
    async with far, control:
        replica = RemoteReplica(Role.B, control, control, lambda *_: None, on_event=lambda _: None)
        with pytest.raises(RemoteProtocolError, match="inventory"):
            await snapshot_of(replica)
    assert sent < 1_000


async def test_an_inventory_has_so_many_buckets_and_no_others(site):
    with pytest.raises(Refusal):
        await site.control.stream(SnapshotRequest((b"x" * 16,))).__anext__()


async def arrived(site):
    """Wait until reports that were made have arrived: a later answer on the same connection follows them."""
    while not site.replica._waiting:
        await site.replica.stage(file_of(b"").digest, 0)


async def test_a_slow_taker_of_reports_holds_up_nothing_else(site):
    await ready(site)
    for number in range(3 * WINDOW_PARTS):
        site.write(b"f", b"%d" % number)
        await site.replica.stage(file_of(b"").digest, 0)
    seen = []
    while len(seen) < 3 * WINDOW_PARTS:
        seen += await site.replica.reports()
    assert [report.content for report in seen] == [b"%d" % number for number in range(3 * WINDOW_PARTS)]


async def test_a_lost_root_is_an_error_of_the_call_and_its_return_is_reported(site):
    site.lose_root("unplugged")
    with pytest.raises(RootLost, match="gone"):
        await ready(site)
    site.find_root(is_new=True)
    reports = []
    while len(reports) < 2:
        reports += await site.replica.reports()
    assert reports == [Lost("unplugged"), Back(is_new=True)]


# Events.


async def test_events_arrive_in_order_also_before_somebody_is_there():
    control, far, _ = joined()
    events = [Event(number, Role.B, EventName.NOTICE, None, {"reason": "r"}) for number in range(2 * WINDOW_PARTS)]
    async with far, control:
        await far.notify(EventsNotice((events[0],)))
        with pytest.raises(Refusal):
            await control.request(Done())
        heard = []
        RemoteReplica(Role.B, control, control, lambda *_: None, on_event=heard.append)
        for first in range(1, len(events), 3):
            await far.notify(EventsNotice(tuple(events[first : first + 3])))
        with pytest.raises(Refusal):
            await control.request(Done())
        assert heard == events


# The end.


async def test_everything_fails_when_the_connection_ends(site):
    await ready(site)
    waiting = asyncio.create_task(site.replica.reports())
    await asyncio.sleep(0)
    await site.far_control.close()
    with pytest.raises(Unreachable):
        await waiting
    for call in (site.replica.reports(), site.replica.look(is_full=False), site.replica.stage(b"d" * 32, 1)):
        with pytest.raises(Unreachable):
            await call
    with pytest.raises(Unreachable):
        await snapshot_of(site.replica)


async def test_a_change_under_way_is_finished_when_its_requester_is_gone(site):
    await ready(site)
    site.fake.applying = asyncio.Event()
    applying = asyncio.create_task(site.replica.apply([step(b"f", None, file_of(b"x"), b"x")]))
    await site.replica.stage(b"d" * 32, 1)
    await site.control.close()
    with pytest.raises(Unreachable):
        await applying
    await site.session
    assert b"f" not in site.fake._tree
    site.fake.applying.set()
    async with asyncio.timeout(20):
        while b"f" not in site.fake._tree:
            await asyncio.sleep(0)
    assert site.read(b"f") == b"x"


async def test_more_changes_than_there_is_room_for_wait(site):
    await ready(site)
    site.fake.applying = asyncio.Event()
    steps = [step(b"f%d" % number, None, file_of(b"x"), b"x") for number in range(2 * REQUESTS_MAX)]
    applying = [asyncio.create_task(site.replica.apply([one])) for one in steps]
    site.fake.applying.set()
    results = await asyncio.gather(*applying)
    assert [result for (result,) in results] == [Applied()] * len(steps)


# Bad faith.


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda replica: replica.stage(b"d" * 32, 5), StageReply(6)),
        (lambda replica: replica.stage(b"d" * 32, 5), Done()),
        (lambda replica: replica.fetch([ContentAt(b"f", file_of(b"x"))]), FetchReply(())),
        (lambda replica: replica.apply([step(b"f", None, None)]), ApplyReply(())),
        (snapshot_of, Done()),
    ],
    ids=["more than all", "another reply", "no content", "no result", "parts of another kind"],
)
async def test_an_answer_that_does_not_fit_is_refused(call, answer):
    async def lie(request, incoming):
        await incoming.send(Chunk(b"not a row"))
        return answer

    control, far, _ = joined()
    far.serve(lie)
    async with far, control:
        replica = RemoteReplica(Role.B, control, control, lambda *_: None, on_event=lambda _: None)
        with pytest.raises(RemoteProtocolError):
            await call(replica)


async def test_more_content_than_there_is_is_not_taken(site):
    async def lie(request, incoming):
        while True:
            await incoming.send(Chunk(b"x" * 1000))

    bulk, far, _ = joined()
    far.serve(lie)
    async with far, bulk:
        replica = RemoteReplica(Role.B, site.control, bulk, lambda *_: None, on_event=lambda _: None)
        with pytest.raises(RemoteProtocolError):
            await supplied(replica, ContentAt(b"f", file_of(b"y" * 2500)))


async def test_more_content_than_announced_is_refused(site):
    async def too_much():
        while True:
            yield Chunk(b"x" * 100)

    with pytest.raises(Refusal, match="announced"):
        await site.bulk.upload(PutRequest(b"d" * 32, 250, 0), too_much())


async def test_a_request_on_the_wrong_connection_is_refused(site):
    for connection, request in (
        (site.bulk, ApplyRequest(())),
        (site.bulk, LookRequest(False)),
        (site.control, PutRequest(b"d" * 32, 1, 0)),
    ):
        with pytest.raises(Refusal):
            await connection.request(request)


async def test_contents_that_do_not_fit_into_an_answer_are_not_fetched(site):
    large = file_of(LARGE)
    with pytest.raises(Refusal):
        await site.replica.fetch([ContentAt(b"f", large)])


async def test_what_is_said_of_an_upload_is_what_has_arrived(site):
    """Not what was sent: the buffers on the way hold all of a content that takes a slow line minutes."""
    wanted, told, sent = file_of(LARGE), [], []
    is_open, real = asyncio.Event(), site.fake.put

    async def slowly(digest, size, offset, chunks, base=None):
        async def held():
            async for chunk in chunks:
                yield chunk
                await is_open.wait()

        return await real(digest, size, offset, held())

    async def pieces():
        async for chunk in chunks_of(LARGE, 1000):
            sent.append(chunk)
            yield chunk

    site.fake.put = slowly
    putting = asyncio.create_task(site.replica.put(wanted.digest, wanted.size, 0, pieces(), told.append))
    while len(sent) < WINDOW_PARTS:
        await asyncio.sleep(0)
    assert told in ([], [1000])
    is_open.set()
    assert await putting
    assert told == sorted(told)
    assert told[-1] == len(LARGE)


OLD, NEW = RelPath(b"old"), RelPath(b"new")


@pytest.mark.parametrize(
    "action",
    [
        Action(NEW, None, file_of(b"x"), renamed_from=OLD),
        Action(NEW, None, None, renamed_from=OLD, expected_source=file_of(b"x")),
        Action(NEW, None, Directory(0o755), renamed_from=OLD, expected_source=file_of(b"x")),
    ],
)
async def test_a_rename_of_what_is_no_file_is_refused(site, action):
    with pytest.raises(Refusal, match="only a file is renamed"):
        await site.replica.apply([Step(action)])
