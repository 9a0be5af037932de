"""Which Server A is served: one session at a time; the same one replaces itself, another is refused."""

import asyncio
from contextlib import asynccontextmanager

from dirsync.core.entry import Directory, Role
from dirsync.core.events import Event, EventName
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Back, Step
from dirsync.errors import StateError
from dirsync.limits import SUBSCRIBER_EVENTS_MAX
from dirsync.net.calls import Terms
from dirsync.net.flow import WINDOW_PARTS
from dirsync.peer.sessions import Sessions
from dirsync.replica.remote import RemoteReplica
from dirsync.wire.meeting import Denied, Hello, Welcome
from dirsync.wire.replica_messages import EventsNotice
from tests.support.fake_replica import FakeReplica
from tests.support.memory_link import joined


def hello(kind="control", replica=b"a", session=b"1", epoch=7, attempt=0):
    return Hello(1, 0, kind, replica_id=replica, epoch=epoch, session=session, attempt=attempt)


class Ground:
    """A Server B's sessions over a replica in memory, and what they announced."""

    def __init__(self):
        self.fake = FakeReplica()
        self.announced = []
        self.begun = []
        self.failing = None
        self.beginning = None
        self.heard = []
        self.sessions = Sessions(
            self.fake, lambda _: Welcome(1, 0, Role.B), self._begin, lambda *said: self.announced.append(said)
        )

    async def _begin(self, asked):
        self.begun.append(asked.session)
        if self.beginning is not None:
            await self.beginning.wait()
        if self.failing is not None:
            raise self.failing

    @asynccontextmanager
    async def met(self, asked):
        """Meet and take a control connection; lends the replica as A has it, the connection and the serving task."""
        near, far, _ = joined()
        assert isinstance(self.sessions.meet(asked), Welcome)
        taking = asyncio.create_task(self.sessions.take(asked, far))
        await asyncio.sleep(0)
        async with near:
            replica = RemoteReplica(Role.B, near, near, lambda *_: None, on_event=self.heard.append)
            yield replica, near, taking
        await taking

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0)


async def test_a_session_is_announced_when_it_begins_and_with_its_reason_when_it_ends():
    ground = Ground()
    async with ground.met(hello()) as (replica, _, _):
        ground.fake.write(RelPath(b"x"), b"1")
        assert [path async for batch in replica.snapshot() for path, _ in batch] == [b"x"]
        assert ground.announced == [(True, "Server A came")]
    assert [is_connected for is_connected, _ in ground.announced] == [True, False]
    assert ground.announced[1][1]


async def test_that_another_root_is_there_is_told_although_a_snapshot_stops_the_report():
    """Server A takes no reports for a while, so the last one is still on its way when A asks for a snapshot."""
    ground = Ground()
    async with ground.met(hello()) as (replica, _, _):
        assert [batch async for batch in replica.snapshot()] == []
        for number in range(WINDOW_PARTS):
            ground.fake.write(RelPath(b"x"), b"%d" % number)
            await ground.until(lambda: ground.fake.are_reports_taken)
        ground.fake.lose_root("gone")
        ground.fake.find_root(is_new=True)
        await ground.until(lambda: ground.fake.are_reports_taken)
        assert len([batch async for batch in replica.snapshot()]) == 1
        async with asyncio.timeout(20):
            while Back(is_new=True) not in await replica.reports():
                pass


async def test_a_session_ends_with_its_bulk_connection_and_says_why():
    ground = Ground()
    async with ground.met(hello()) as (_, control, taking):
        await ground.until(lambda: ground.announced)
        near, far, wire = joined(Terms(heartbeat_seconds=0.01, silence_seconds=0.05))
        bulk = asyncio.create_task(ground.sessions.take(hello("bulk"), far))
        async with near:
            wire.is_cut = True
            await taking
        await bulk
        assert not control.is_open
    assert ground.announced[-1] == (False, "nothing was heard for 0.05 s")


async def test_who_is_let_in():
    ground = Ground()
    meet = ground.sessions.meet
    assert isinstance(meet(hello("client")), Denied)
    assert isinstance(meet(hello("bulk")), Denied)
    async with ground.met(hello()):
        assert isinstance(meet(hello("bulk")), Welcome)
        assert isinstance(meet(hello("bulk", session=b"2")), Denied)
        assert isinstance(meet(hello(replica=b"another a", session=b"2")), Denied)
        assert isinstance(meet(hello(session=b"2")), Welcome)
    assert isinstance(meet(hello(replica=b"another a")), Welcome)


async def test_the_same_server_a_replaces_its_old_session():
    ground = Ground()
    async with ground.met(hello()) as (_, old, first):
        await ground.until(lambda: ground.announced)
        async with ground.met(hello(session=b"2")) as (replica, _, _):
            await ground.until(lambda: len(ground.announced) == 3)
            assert [is_connected for is_connected, _ in ground.announced] == [True, False, True]
            assert first.done()
            assert not old.is_open
            assert (await replica.look(False)).files == 0


async def test_a_greeting_that_was_given_up_does_not_end_the_session_that_came_after_it():
    """Server A gave the first up on a line that is seconds long; it arrives after the second."""
    ground = Ground()
    meet = ground.sessions.meet
    async with ground.met(hello(session=b"2", attempt=2)) as (replica, control, _):
        assert isinstance(meet(hello(session=b"1", attempt=1)), Denied)
        assert isinstance(meet(hello("bulk", session=b"2", attempt=2)), Welcome)
        assert isinstance(meet(hello(session=b"3", attempt=3)), Welcome)
        assert isinstance(meet(hello(session=b"4", epoch=8, attempt=1)), Welcome)
        assert control.is_open
        assert (await replica.look(False)).files == 0
    assert isinstance(meet(hello(session=b"1", attempt=1)), Welcome)


async def test_a_session_that_was_replaced_before_its_turn_is_never_served():
    """The first takes its time to end; two more come meanwhile."""
    ground = Ground()
    ground.beginning = asyncio.Event()
    async with ground.met(hello()), ground.met(hello(session=b"2")):
        await asyncio.sleep(0)
        async with ground.met(hello(session=b"3")):
            for _ in range(20):
                await asyncio.sleep(0)
            assert ground.begun == [b"1"]
            ground.beginning.set()
            await ground.until(lambda: ground.begun[-1] == b"3")
    assert ground.begun == [b"1", b"3"]
    assert [is_connected for is_connected, _ in ground.announced] == [True, False, True, False]


async def test_a_change_that_hangs_holds_up_no_session():
    """A disk hangs under an apply: the next session is met and answered, and hears of the result in its snapshot."""
    ground = Ground()
    ground.fake.applying = asyncio.Event()
    async with ground.met(hello()) as (replica, _, _):
        applying = asyncio.create_task(replica.apply([Step(Action(RelPath(b"d"), None, Directory(0o755)))]))
        await ground.until(lambda: ground.sessions._server._work)
    await asyncio.gather(applying, return_exceptions=True)
    for session in (b"2", b"3"):
        async with ground.met(hello(session=session)) as (replica, _, _):
            assert (await replica.look(False)).files == 0
            changing = asyncio.create_task(replica.unhold([RelPath(b"x")]))
            comparing = asyncio.create_task(anext(replica.snapshot()))
            assert (await replica.look(False)).files == 0
            assert not changing.done()
            assert not comparing.done()
            if session == b"3":
                ground.fake.applying.set()
                assert await comparing == ((b"d", Directory(0o755)),)
                await changing
        await asyncio.gather(changing, comparing, return_exceptions=True)


async def test_a_session_that_cannot_begin_ends_and_the_next_one_is_served():
    ground = Ground()
    ground.failing = StateError("the disk is full")
    async with ground.met(hello()) as (_, _, taking):
        await taking
    assert ground.announced == [(False, "the disk is full")]
    ground.failing = None
    async with ground.met(hello(session=b"2")) as (replica, _, _):
        assert (await replica.look(False)).files == 0


async def test_events_that_come_together_go_together(monkeypatch):
    ground = Ground()
    async with ground.met(hello()):
        await ground.until(lambda: ground.announced)
        control, notices = ground.sessions._session.control, []
        notify = control.notify

        async def noted(body):
            notices.append(body)
            await notify(body)

        monkeypatch.setattr(control, "notify", noted)
        for number in range(100):
            ground.sessions.forward(Event(number, Role.B, EventName.DETECTED))
        await ground.until(lambda: len(ground.heard) == 100)
        counts = [len(notice.events) for notice in notices if isinstance(notice, EventsNotice)]
        assert counts == [64, 36]
        assert [event.time_ns for event in ground.heard] == list(range(100))


async def test_events_reach_server_a_while_it_is_there_and_never_pile_up():
    ground = Ground()
    ground.sessions.forward(Event(0, Role.B, EventName.DETECTED))
    async with ground.met(hello()):
        await ground.until(lambda: ground.announced)
        for number in range(1, SUBSCRIBER_EVENTS_MAX + 100):
            ground.sessions.forward(Event(number, Role.B, EventName.DETECTED))
        await ground.until(lambda: ground.heard)
        await ground.until(ground.sessions._session.events.empty)
        ground.sessions.forward(Event(-1, Role.B, EventName.DETECTED))
        await ground.until(lambda: ground.heard[-1].time_ns == -1)
        assert [event.time_ns for event in ground.heard] == [*range(1, SUBSCRIBER_EVENTS_MAX + 1), -1]
