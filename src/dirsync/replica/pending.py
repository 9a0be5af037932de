"""The paths that wait for a look: which now, which later, which not at all while an apply works on them.

Owns this bookkeeping and nothing else: no file system, no clock of its own. Rounds number the hints, so that one can
wait until everything hinted at before a moment has been looked at.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from dirsync.core.emptied import give_back_if_empty
from dirsync.core.paths import RelPath


class Lead(IntEnum):
    """What led to a look: a hint, the walk through a directory that was hinted at, or nothing but a full scan."""

    HINT = 0
    WALK = 1
    SCAN = 2


class Item(NamedTuple):
    """A path somebody hinted at. `since` is the loop time of the first hint, `lead` the best there was."""

    round: int
    since: float
    lead: Lead


@dataclass(slots=True)
class _Look:
    """A look under way. `again` was hinted meanwhile; a stale look began before an apply and counts for nothing."""

    again: Item | None = None
    is_stale: bool = False


class Pending:
    """Every path is in one place at a time: dirty (to be looked at now), being looked at, or put off."""

    def __init__(self) -> None:
        self._items: dict[RelPath, Item] = {}
        self._dirty: dict[RelPath, None] = {}
        self._looks: dict[RelPath, _Look] = {}
        self._due: dict[RelPath, float] = {}
        self._found: set[RelPath] = set()
        """What a scan alone found, and is to be looked at once more."""
        self._timers: list[tuple[float, int, RelPath]] = []
        self._timer_number = 0
        self._parked: set[RelPath] = set()
        self._rounds: dict[int, int] = {}
        self._round = 0
        self._walks = 0
        self._walked: set[RelPath] = set()
        """What walks found and nobody has looked at yet."""
        self._after_walks: set[RelPath] = set()

    def __contains__(self, path: RelPath) -> bool:
        return path in self._items

    def __iter__(self) -> Iterator[RelPath]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_dirty(self) -> bool:
        """Whether a path waits to be looked at now."""
        return bool(self._dirty)

    @property
    def oldest_round(self) -> int:
        """The round of the oldest hint that was not looked at yet; beyond every round where there is none."""
        return min(self._rounds, default=self._round + 1)

    @property
    def is_listing(self) -> bool:
        """Whether a walk through a directory is under way: not everything that may wait for a look is known."""
        return bool(self._walks)

    @property
    def is_walking(self) -> bool:
        """Whether a walk through a directory is under way, or something that it found was not looked at yet."""
        return self.is_listing or bool(self._walked)

    def next_round(self) -> int:
        """Begin a new round of hints and return the one that ends with it."""
        self._round += 1
        return self._round - 1

    def begin_walk(self, number: int | None = None) -> int:
        """Count a walk as pending in this round, else in the present one; end it with `end_walk`."""
        number = self._round if number is None else number
        self._count(number, 1)
        self._walks += 1
        return number

    def end_walk(self, number: int) -> None:
        """End what `begin_walk` began."""
        self._count(number, -1)
        self._walks -= 1
        self._release_after_walks()

    def hint(self, path: RelPath, now: float, lead: Lead = Lead.HINT, number: int | None = None) -> None:
        """Take note that a path may have changed. `number` is the round of what led to it, else the present one."""
        look = self._looks.get(path)
        if look is not None:
            if look.again is None:
                look.again = self._new_item(now, lead, number)
            else:
                look.again = look.again._replace(lead=min(lead, look.again.lead))
            return
        item = self._items.get(path)
        if item is None:
            self._items[path] = self._new_item(now, lead, number)
            if lead is Lead.WALK:
                self._walked.add(path)
        else:
            self._items[path] = self._joined(item, lead, number)
        self._due.pop(path, None)
        self._found.discard(path)
        if path not in self._parked:
            self._dirty[path] = None

    def put_off(self, path: RelPath, due: float, now: float, number: int) -> None:
        """Count the path as pending, to be looked at when it is due unless something hints at it before."""
        if path in self._looks:
            self.hint(path, now, number=number)  # what is found may be from before
            return
        if path in self._dirty:
            return
        if path not in self._items:
            self._items[path] = self._new_item(now, Lead.HINT, number)
        self._set_timer(path, due)

    def look_later(self, path: RelPath, due: float) -> None:
        """Have the path looked at again when it is due; until then it does not count as pending."""
        item = self._items.get(path)
        if item is not None and item.lead is Lead.SCAN:
            self._found.add(path)
        self._set_timer(path, due)

    def next_due(self) -> float | None:
        """Return the loop time at which the next path falls due."""
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def take(self, count: int, now: float) -> list[RelPath]:
        """Return dirty paths, now being looked at: about `count`, but everything that fell due together."""
        due = self._take_due(now)
        paths = list(due)
        for path in self._dirty:
            if len(paths) >= max(count, len(due)):
                break
            if path not in due:
                paths.append(path)
        for path in paths:
            self._dirty.pop(path, None)
            self._looks[path] = _Look()
        give_back_if_empty(self._dirty)
        return paths

    def is_stale(self, path: RelPath) -> bool:
        """Return whether the look at the path counts for nothing."""
        look = self._looks.get(path)
        return look is None or look.is_stale

    def item(self, path: RelPath) -> Item:
        """Return the hint that led to the look under way."""
        return self._items[path]

    def resolve(self, path: RelPath) -> None:
        """End the look: the path is settled, unless it was hinted at meanwhile. Nothing where no look is under way."""
        look = self._looks.pop(path, None)
        self.looked(path)
        if look is None:
            return  # everything was forgotten since, and what waits now was hinted at after that
        item = self._items.pop(path, None)
        if item is not None:
            self._count(item.round, -1)
        if look.again is not None:
            self._items[path] = look.again
            self._make_dirty(path)
        give_back_if_empty(self._items)

    def repeat(self, path: RelPath, due: float | None = None) -> None:
        """End the look without an answer: the path stays pending, to be looked at now or when it is due."""
        look = self._looks.pop(path, None)
        if look is not None and look.again is not None:
            self._count(look.again.round, -1)
            due = None
        if path in self._items:
            if due is None:
                self._make_dirty(path)
            else:
                self._set_timer(path, due)
        self.looked(path)

    def repeat_after_walks(self, path: RelPath, due: float) -> None:
        """End the look without an answer: to be looked at again when no walk is under way, at the latest when due."""
        self._after_walks.add(path)  # before: what is looked at last is not to wait for itself
        self.repeat(path, due)

    def looked(self, path: RelPath) -> None:
        """Take note that a path was looked at, whatever it was found to be."""
        self._walked.discard(path)
        self._release_after_walks()

    def is_parked(self, path: RelPath) -> bool:
        """Return whether an apply works on the path."""
        return path in self._parked

    def park(self, paths: Iterable[RelPath]) -> None:
        """Leave paths alone: an apply works on them. What is being looked at counts for nothing."""
        for path in paths:
            self._parked.add(path)
            self._dirty.pop(path, None)
            look = self._looks.get(path)
            if look is not None:
                look.is_stale = True

    def unpark(self, paths: Iterable[RelPath]) -> None:
        """Look at parked paths again where something hinted at them."""
        for path in paths:
            self._parked.discard(path)
            if path in self._items and path not in self._looks and path not in self._due:
                self._dirty[path] = None

    def clear(self) -> None:
        """Forget everything but what is parked; looks under way must not be resolved any more."""
        self._items.clear()
        self._dirty.clear()
        self._looks.clear()
        self._due.clear()
        self._found.clear()
        self._timers.clear()
        self._rounds.clear()
        self._walks = 0
        self._walked.clear()
        self._after_walks.clear()

    def _new_item(self, now: float, lead: Lead, number: int | None = None) -> Item:
        number = self._round if number is None else number
        self._count(number, 1)
        return Item(number, now, lead)

    def _joined(self, item: Item, lead: Lead, number: int | None) -> Item:
        """Return an item that another hint has joined."""
        if number is None or number >= item.round:
            if lead >= item.lead:
                return item
            number = item.round
        else:
            self._count(item.round, -1)
            self._count(number, 1)
        return item._replace(round=number, lead=min(lead, item.lead))

    def _count(self, number: int, change: int) -> None:
        left = self._rounds.get(number, 0) + change
        if left > 0:
            self._rounds[number] = left
        else:
            self._rounds.pop(number, None)

    def _make_dirty(self, path: RelPath) -> None:
        if path not in self._parked:
            self._dirty[path] = None

    def _release_after_walks(self) -> None:
        if self._after_walks and not self.is_walking:
            for path in self._after_walks & self._due.keys():
                self._set_timer(path, 0.0)  # all of them fall due together
            self._after_walks.clear()

    def _set_timer(self, path: RelPath, due: float) -> None:
        self._due[path] = due
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, path))

    def _take_due(self, now: float) -> dict[RelPath, None]:
        paths: dict[RelPath, None] = {}
        while (due := self.next_due()) is not None and due <= now:
            path = heapq.heappop(self._timers)[2]
            del self._due[path]
            if path not in self._items:
                self._items[path] = self._new_item(now, Lead.SCAN if path in self._found else Lead.HINT)
            self._found.discard(path)
            if path not in self._looks and path not in self._parked:
                paths[path] = None
        return paths
