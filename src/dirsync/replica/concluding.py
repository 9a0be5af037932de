"""What a look means: a change, a vanishing, a rename, a file that is not finished, something that is not carried.

Owns the conclusions of one replica: the index, the reports and the events follow from them. Runs on the event loop
and reads nothing itself; where to look next is only asked for.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from dirsync.core.emptied import give_back_if_empty
from dirsync.core.entry import Directory, Entry, File, Observed, Problem, Untracked, change_kind, size_of
from dirsync.core.events import EventName
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.reports import Change
from dirsync.disk.probe import Gone, Settled, Unsettled
from dirsync.errors import StateError
from dirsync.limits import VANISH_WALK_SECONDS_MAX
from dirsync.replica.capturing import HeldStates
from dirsync.replica.looking import Ask, Capture, Large, Moved, NoRoom, NotYet, Outcome
from dirsync.replica.oddities import Oddities
from dirsync.replica.pending import Item, Lead, Pending
from dirsync.replica.site import Site
from dirsync.replica.unsettled import UnsettledPaths
from dirsync.replica.vanishing import VanishedPaths

_CONFIRM_SECONDS = 0.25
"""A digest that was taken over from a renamed file is read again after this."""
_JUST_NOW_NANOSECONDS = 5_000_000_000
"""How old a change may be when the hint at what followed it in the same tick of the clock comes."""


class Conclusions:
    """Draws them. `hint` and `hint_tree` have paths, or a directory's content, looked at in a round of hints."""

    def __init__(
        self,
        site: Site,
        pending: Pending,
        holds: HeldStates,
        hint: Callable[[Iterable[RelPath], int | None], None],
        hint_tree: Callable[[RelPath, int | None], None],
    ) -> None:
        self._site = site
        self._pending = pending
        self.holds = holds
        self._hint = hint
        self._hint_tree = hint_tree
        self.unsettled = UnsettledPaths()
        self.oddities = Oddities(site)
        self.vanished = VanishedPaths()
        self._captures: dict[RelPath, Capture] = {}
        self._unconfirmed: set[RelPath] = set()
        self._untold: set[RelPath] = set()
        self.is_announcing = True
        self.found_by_scan = 0
        """Changes at which no watcher had hinted."""

    def ask(self, path: RelPath) -> Ask:
        """Return how to look at a path."""
        capture = self.holds.capture_for(path)
        if capture is not None:
            self._captures[path] = capture
        known, must_read = self._site.index.get(path), path in self._unconfirmed
        if path not in self.unsettled:
            return Ask(path, known, must_read=must_read, capture=capture)
        is_forced, quiet = self.unsettled.is_to_be_sampled(path, _now()), self.unsettled.quiet_state(path, _now())
        return Ask(path, known, is_forced, must_read, capture, quiet)

    def doubt(self, paths: Iterable[RelPath]) -> None:
        """Have these read when they are looked at, if they were put in place just now, or are being: a program wrote.

        Within one tick of the kernel's clock it may have put the time back, so that no stamp tells.
        """
        oldest_ns = time.time_ns() - _JUST_NOW_NANOSECONDS
        for path in paths:
            known = self._site.index.get(path)
            if self._pending.is_parked(path) or (known is not None and known.fingerprint.ctime_ns > oldest_ns):
                self._unconfirmed.add(path)

    def distrust(self, paths: Iterable[RelPath]) -> None:
        """Have these read when they are looked at, if they are known."""
        self._unconfirmed.update(path for path in paths if self._site.index.get(path) is not None)

    def unconfirmed(self) -> list[RelPath]:
        """Return the paths whose content was taken over from what was known, and is read when they are looked at."""
        return list(self._unconfirmed)

    def tell(self, paths: Iterable[RelPath]) -> None:
        """Report what stands at these paths when they were looked at, even if it is not new."""
        self._untold.update(paths)

    def view(self) -> list[tuple[RelPath, Observed]]:
        """Return everything that is known now; what is not settled, or not read (yet), comes last, as such.

        What becomes of the unsettled and the unread is reported in any case, also if it is what stood there before.
        """
        odd: dict[RelPath, Observed] = dict(self.oddities.all())
        unsettled = [path for path, _ in self.unsettled.standings()]
        odd.update(dict.fromkeys(unsettled, Problem("it is being changed")))
        self.tell(unsettled)
        unread = [path for path in self._pending if path not in odd]
        odd.update(dict.fromkeys(unread, Problem("it has not been read yet")))
        self.tell(unread)
        rows: list[tuple[RelPath, Observed]] = [
            (path, known.entry) for path, known in self._site.index.known.items() if path not in odd
        ]
        return rows + list(odd.items())

    def clear(self) -> None:
        """Forget what was in doubt: the root is lost."""
        self.vanished.clear()
        self.unsettled.clear()
        self.oddities.clear()
        self._unconfirmed.clear()
        for capture in self._captures.values():
            self.holds.drop_file(capture.file)
        self._captures.clear()

    async def conclude(self, ask: Ask, outcome: Outcome) -> None:
        """Draw the conclusion of one look."""
        path = ask.path
        capture = self._captures.pop(path, None)
        is_doubted = isinstance(outcome, Settled) and path in self._unconfirmed and not ask.must_read
        if self._pending.is_stale(path) or is_doubted or isinstance(outcome, NotYet | Large):
            self._drop(capture)
            self._pending.repeat(path)
            return
        item = self._pending.item(path)
        if isinstance(outcome, Moved):
            due = self.vanished.due(outcome.source)
            if due is not None and self._is_awaited(path, due):
                return
            outcome = outcome.settled
        if not self._is_as_held(path, outcome, capture):
            self._drop(capture)
            self._pending.repeat(path)
            return
        match outcome:
            case Settled():
                await self._take_settled(path, outcome, item, capture)
            case Gone():
                await self._take_gone(path, item)
            case Unsettled():
                self._take_unsettled(path, outcome, _now())
            case NoRoom():
                self.holds.postpone(path)
                self.unsettled.settled(path)
                self.vanished.discard(path)
                self._pending.resolve(path)
            case Untracked() | Problem():
                self._take_odd(path, outcome, item)

    def _is_as_held(self, path: RelPath, outcome: Outcome, capture: Capture | None) -> bool:
        """Return whether a look still means what it meant when it began: under no lock, or under the present one.

        Otherwise nothing may have captured what it saw, and what could not be captured needs no capture any more.
        """
        if path not in self.holds:
            return not isinstance(outcome, NoRoom)
        is_file = isinstance(outcome, Settled) and isinstance(outcome.entry, File)
        return not is_file or (capture is not None and capture.last == self.holds.last(path))

    async def _take_settled(self, path: RelPath, found: Settled, item: Item, capture: Capture | None) -> None:
        site, entry = self._site, found.entry
        self.vanished.discard(path)
        is_unlisted = self.oddities.is_unlisted(path)
        if is_unlisted or (isinstance(entry, Directory) and site.rules.ignores(path, True)):
            self._drop(capture)
            if not is_unlisted:
                self._untell(path, None, item)  # it was named as unread; it is not to be seen
            self._pending.resolve(path)
            return
        before = site.index.entry(path)
        content = None if self._is_content_known(entry) else found.content
        self._remember(path, found)
        if self.oddities.discard(path):
            self._untold.add(path)
        if path in self.holds:
            if not await self._take_held(path, found, item, capture):
                return
        else:
            self._drop(capture)
            if entry != before or path in self._untold:
                self._told(path)
                site.outbox.change(Change(path, entry, content), item.since)
        self._announce(path, before, entry, item)
        if isinstance(before, Directory) != isinstance(entry, Directory):
            self._children_doubtful(path, entry, item)
        self._pending.resolve(path)

    async def _take_held(self, path: RelPath, found: Settled | Gone, item: Item, capture: Capture | None) -> bool:
        """Record the captured state of a held name if it is a new one; False where that cannot be done now."""
        entry = found.entry if isinstance(found, Settled) else None
        if entry == self.holds.last(path):
            self._drop(capture)
            self._untell(path, entry, item)
            return True
        file = capture.file if capture is not None and isinstance(entry, File) else None
        content = found.content if isinstance(found, Settled) else None
        try:
            is_captured = await self.holds.captured(path, entry, content, file, item.since)
        except StateError as error:
            self._drop(capture)
            self._take_odd(path, Problem(str(error)), item)
            return False
        if not is_captured:
            self._untold.add(path)  # what stands there then is told, also where the index says so already
            self._pending.repeat(path)
            return False
        self._told(path)
        return True

    async def _take_gone(self, path: RelPath, item: Item) -> None:
        site, now = self._site, _now()
        self.unsettled.settled(path)
        known = site.index.get(path)
        is_told = path in self.holds and self.holds.last(path) is None
        if known is None and not self.oddities.has(path) and (path not in self.holds or is_told):
            self._untell(path, None, item)
            self.vanished.discard(path)
            self._pending.resolve(path)
            return
        due = self.vanished.due(path)
        if due is None:
            due = self.vanished.add(path, known, now)
            if known is not None and isinstance(known.entry, Directory):
                self._children_vanish(path, due, now, item.round)
        if self._is_awaited(path, due):
            return
        self.vanished.discard(path)
        self._unconfirmed.discard(path)
        if self.oddities.discard(path):
            self._untold.add(path)
        site.index.discard(path)
        if path not in self.holds:
            self._told(path)
            site.outbox.change(Change(path, None), item.since)
        elif not await self._take_held(path, Gone(), item, None):
            return
        self._announce(path, None if known is None else known.entry, None, item)
        self._pending.resolve(path)

    def _is_awaited(self, path: RelPath, due: float) -> bool:
        """Return whether something that vanished may still turn up, and see to another look at this path then.

        A directory that was renamed is found by a walk: what it found is looked at before anything is believed gone.
        """
        if _now() < due:
            self._pending.repeat(path, due)
            return True
        if self._pending.is_walking and _now() < due + VANISH_WALK_SECONDS_MAX:
            self._pending.repeat_after_walks(path, due + VANISH_WALK_SECONDS_MAX)
            return True
        return False

    def _take_unsettled(self, path: RelPath, found: Unsettled, now: float) -> None:
        self.vanished.discard(path)
        due = self.unsettled.note(path, found, now)
        if self.unsettled.is_notice_due(path, now):
            self._site.emit(EventName.NOTICE, path, {"reason": "a program is still writing to it: it waits"})
        self._pending.look_later(path, due)
        self._pending.resolve(path)

    def _take_odd(self, path: RelPath, found: Untracked | Problem, item: Item) -> None:
        self.vanished.discard(path)
        self.unsettled.settled(path)
        self.note_oddity(path, found, item.since)
        if isinstance(found, Problem):
            self._pending.look_later(path, self.oddities.retry_at(path, _now()))
        self._pending.resolve(path)

    def note_oddity(self, path: RelPath, found: Untracked | Problem, since: float) -> None:
        """Report that something stands there that is not carried or cannot be read, once."""
        if isinstance(found, Untracked) and self._site.index.get(path) is not None:
            self._hint(list(self._site.index.known.descendants(path)), None)
            self._site.index.discard(path)
        if self.oddities.set(path, found):
            self._site.outbox.change(Change(path, found), since)

    def _remember(self, path: RelPath, found: Settled) -> None:
        """Put what was read into the index, and arrange for a second reading where the first was not one."""
        known = self._site.index.get(path)
        fresh = Known(found.entry, found.fingerprint, found.looked_ns if found.is_confirmed else 0)
        if known != fresh:
            self._site.index.set(path, fresh)
        if found.is_confirmed:
            self._unconfirmed.discard(path)
            self.unsettled.settled(path)
        elif path in self.unsettled:
            self._pending.look_later(path, self.unsettled.sampled(path, _now()))
        else:
            self._unconfirmed.add(path)
            self._pending.look_later(path, _now() + _CONFIRM_SECONDS)

    def _announce(self, path: RelPath, before: Entry | None, entry: Entry | None, item: Item) -> None:
        if before == entry:
            return
        self.found_by_scan += item.lead is Lead.SCAN
        if self.is_announcing:
            change = change_kind(before, entry).value
            self._site.emit(EventName.DETECTED, path, {"change": change, "size": size_of(entry)})

    def _untell(self, path: RelPath, entry: Entry | None, item: Item) -> None:
        """Report what stands there although it is what stood there before, where something else was said last."""
        if path in self._untold:
            self._told(path)
            self._site.outbox.change(Change(path, entry), item.since)

    def _told(self, path: RelPath) -> None:
        self._untold.discard(path)
        give_back_if_empty(self._untold)

    def _is_content_known(self, entry: Entry) -> bool:
        """Return whether the other side was told of this content already: it stood here, at this path or another."""
        return isinstance(entry, File) and self._site.index.place_of(entry.digest) is not None

    def _children_vanish(self, path: RelPath, due: float, now: float, number: int) -> None:
        """What was in a directory that is gone is gone with it, as far as one can tell before the second look."""
        for child in self._site.index.known.descendants(path):
            if self.vanished.due(child) is None:
                self.vanished.add(child, self._site.index.get(child), now, due)
                self._pending.put_off(child, due, now, number)

    def _children_doubtful(self, path: RelPath, entry: Entry, item: Item) -> None:
        if not isinstance(entry, Directory):
            self._hint(list(self._site.index.known.descendants(path)), item.round)
        elif item.lead is Lead.HINT:
            self._hint_tree(path, item.round)

    def _drop(self, capture: Capture | None) -> None:
        if capture is not None:
            self.holds.drop_file(capture.file)


def _now() -> float:
    return asyncio.get_running_loop().time()
