"""The events that A remembers, and whoever follows them: publishing never waits for a follower."""

import pytest

from dirsync.coordinator.journal import Journal
from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName
from dirsync.errors import Refusal
from dirsync.limits import BATCH_ACTIONS_MAX, JOURNAL_EVENTS_MAX, SUBSCRIBER_EVENTS_MAX


def event(number, name=EventName.DETECTED):
    return Event(number, Role.B, name)


def test_the_last_events_are_remembered_and_no_more():
    journal = Journal()
    for number in range(JOURNAL_EVENTS_MAX + 5):
        journal.publish(event(number))
    assert [e.time_ns for e in journal.last(2)] == [JOURNAL_EVENTS_MAX + 3, JOURNAL_EVENTS_MAX + 4]
    assert len(journal.last(-1)) == len(journal.last(10**9)) == JOURNAL_EVENTS_MAX
    assert journal.last(-1)[0].time_ns == 5
    assert journal.last(0) == []


def test_the_last_error_is_kept_however_much_happens_afterwards():
    journal = Journal()
    journal.publish(event(1, EventName.ERROR))
    for number in range(JOURNAL_EVENTS_MAX):
        journal.publish(event(number))
    assert journal.last_error == event(1, EventName.ERROR)


async def test_a_follower_gets_what_is_published_from_then_on_in_batches():
    journal = Journal()
    journal.publish(event(0))
    with journal.followed() as following:
        for number in range(1, BATCH_ACTIONS_MAX + 3):
            journal.publish(event(number))
        assert [e.time_ns for e in await anext(following)] == list(range(1, BATCH_ACTIONS_MAX + 1))
        assert [e.time_ns for e in await anext(following)] == [BATCH_ACTIONS_MAX + 1, BATCH_ACTIONS_MAX + 2]
        await following.aclose()


async def test_a_follower_that_does_not_keep_up_is_dropped_and_told_and_the_others_go_on():
    journal = Journal()
    with journal.followed() as slow, journal.followed() as quick:
        got = 0
        for number in range(SUBSCRIBER_EVENTS_MAX + 3):
            journal.publish(event(number))
            if number % 1_000 == 0:
                got += len(await anext(quick))
        with pytest.raises(Refusal, match="follow them again"):
            async for _ in slow:
                pass
        while got < SUBSCRIBER_EVENTS_MAX + 3:
            got += len(await anext(quick))
        await quick.aclose()


async def test_nobody_is_followed_after_the_follower_left():
    journal = Journal()
    with journal.followed():
        pass
    journal.publish(event(1))
    assert not journal._followers
