"""What happened: the notifications of both servers since this one started, and who follows them.

Publishing never waits: a follower that does not keep up is dropped, not the server slowed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from dirsync.core.events import Event, EventName
from dirsync.errors import Refusal
from dirsync.limits import BATCH_ACTIONS_MAX, JOURNAL_EVENTS_MAX, SUBSCRIBER_EVENTS_MAX


class Journal:
    """The last JOURNAL_EVENTS_MAX events, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=JOURNAL_EVENTS_MAX)
        self._followers: set[asyncio.Queue[Event | None]] = set()
        self.last_error: Event | None = None

    def publish(self, event: Event) -> None:
        """Add an event and hand it to all followers."""
        self._events.append(event)
        if event.name is EventName.ERROR:
            self.last_error = event
        for follower in list(self._followers):
            try:
                follower.put_nowait(event)
            except asyncio.QueueFull:
                self._followers.discard(follower)
                follower.get_nowait()
                follower.put_nowait(None)

    def last(self, count: int) -> list[Event]:
        """Return the last `count` events, oldest first; all that are remembered where `count` is negative."""
        events = list(self._events)
        return events if count < 0 else events[len(events) - min(count, len(events)) :]

    @contextmanager
    def followed(self) -> Iterator[AsyncIterator[list[Event]]]:
        """Follow from now on: an iterator of batches, as published. It raises Refusal where the reader was too slow."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(SUBSCRIBER_EVENTS_MAX)
        self._followers.add(queue)
        try:
            yield _batches(queue)
        finally:
            self._followers.discard(queue)


async def _batches(queue: "asyncio.Queue[Event | None]") -> AsyncIterator[list[Event]]:
    while True:
        batch = [await queue.get()]
        while not queue.empty() and len(batch) < BATCH_ACTIONS_MAX:
            batch.append(queue.get_nowait())
        yield [event for event in batch if event is not None]
        if None in batch:
            raise Refusal("events came faster than they were read; follow them again")
