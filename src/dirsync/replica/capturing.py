"""The held names of a near replica: every settled state of one is captured before it can change again.

Owns the durable queue of captures: content first, then its row, then the report. A capture goes only when it is
released or its name is no longer held. Past the limit nothing is captured, and the directory holds the only copy.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from dirsync.core.entry import Entry, File
from dirsync.core.events import EventName
from dirsync.core.holds import held_size_of
from dirsync.core.paths import RelPath
from dirsync.core.reports import Change, HeldName
from dirsync.disk.reasons import reason_of
from dirsync.errors import DiskError
from dirsync.limits import INLINE_BYTES_MAX
from dirsync.replica.gifts import Gifts
from dirsync.replica.looking import Capture
from dirsync.replica.site import Site
from dirsync.store import capture_rows, given_rows, held_names
from dirsync.store.capture_rows import CaptureRow
from dirsync.store.given_rows import Gift


class HeldStates:
    """Which names are held, the last state recorded of each, and the captures that were not released yet."""

    def __init__(self, site: Site, size_max: int, look: Callable[[Iterable[RelPath]], None]) -> None:
        self._site = site
        self._directory = site.state / "captures"
        self._size_max = size_max
        self._look = look
        self._last: dict[RelPath, Entry | None] = {}
        self._unreleased: dict[int, CaptureRow] = {}
        self._size = 0
        self._postponed: set[RelPath] = set()
        self._gifts = Gifts(site)
        # Rows are written and reported in one order.
        self._turn = asyncio.Lock()

    def load(self) -> None:
        """Read what was held and captured before, and drop files that no row names. Blocking. Raises DiskError."""
        try:
            self._load()
        except OSError as error:
            raise DiskError(f"{self._directory} cannot be used: {reason_of(error)}") from error

    def _load(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._site.database.transaction() as connection:
            self._last = {name.path: name.seen for name in held_names.load(connection)}
            rows = capture_rows.load(connection)
        given = self._gifts.load()
        self._last.update((path, entry) for path, entry in given.items() if path in self._last)
        self._unreleased = {row.id: row for row in rows}
        self._size = sum(held_size_of(row.entry) for row in rows)
        wanted = {row.file for row in rows}
        for file in os.listdir(self._directory):
            if file not in wanted:
                os.unlink(self._directory / file)

    def __contains__(self, path: RelPath) -> bool:
        return path in self._last

    def names(self) -> list[RelPath]:
        """Return the held names."""
        return list(self._last)

    def last(self, path: RelPath) -> Entry | None:
        """Return the last recorded state of a held name."""
        return self._last[path]

    def capture_for(self, path: RelPath) -> Capture | None:
        """Return how a look at this path captures what it finds; None where the name is not held."""
        if path not in self._last:
            return None
        return Capture(self._directory / secrets.token_hex(8), self._last[path], self._size_max - self._size)

    async def captured(
        self, path: RelPath, entry: Entry | None, content: bytes | None, file: Path | None, since: float
    ) -> bool:
        """Record a state whose content, if it has one, is durable in `file`; then report it.

        False where the name is not held any more by now: by now something else may have been applied to it, too.
        """
        async with self._turn:
            if path not in self._last:
                self.drop_file(file)
                return False
            if gift := self._gifts.untold(path):
                await self._tell_given(gift)
            name = file.name if file is not None else None
            row = await self._site.threads.record(partial(self._add, path, entry, name))
            self._postponed.discard(path)
            self._last[path] = entry
            self._unreleased[row.id] = row
            self._size += held_size_of(entry)
            self._report(row, content, since)
            return True

    def postpone(self, path: RelPath) -> None:
        """Take note that no room is left to capture this name's present state; it is captured when there is."""
        if path not in self._postponed:
            self._postponed.add(path)
            reason = "no room is left to hold this update (locks.max_size): it waits in the directory"
            self._site.emit(EventName.NOTICE, path, {"reason": reason})

    def drop_file(self, file: Path | None) -> None:
        """Remove the copy of a state that is not recorded."""
        if file is not None:
            with suppress(OSError):  # the next start removes what no row names
                file.unlink()

    async def giving(self, gifts: Sequence[Gift | None]) -> list[Gift | None]:
        """Make durable what is going to be given to held names, before it is; return what of it. Raises StateError."""
        held = [gift if gift is not None and gift.path in self._last else None for gift in gifts]
        if any(held):
            await self._gifts.note([gift for gift in held if gift is not None])
        return held

    def given(self, noted: Iterable[RelPath], gifts: Mapping[RelPath, Gift]) -> None:
        """Make durable what was given last of what was going to be. Blocking, from any thread. Raises StateError."""
        self._gifts.finish(noted, gifts)

    async def applied(self, done: Mapping[RelPath, Entry | None], gifts: Mapping[RelPath, Gift]) -> None:
        """Take note that this replica was made to hold these: they are no updates of its own. Raises StateError."""
        held = {path: entry for path, entry in done.items() if path in self._last}
        self._last.update(held)
        for path, gift in gifts.items():
            self._gifts.done(gift)
            held.pop(path, None)
        if held:
            await self._site.threads.record(partial(self._put, [HeldName(*each) for each in held.items()]))

    async def _tell_given(self, gift: Gift) -> None:
        """Report what was given before anything later of this name. Holds the turn."""
        row = await self._site.threads.record(partial(self._add_given, gift))
        self._gifts.forget([gift.path])
        self._unreleased[row.id] = row
        self._size += held_size_of(row.entry)
        self._report(row, None, asyncio.get_running_loop().time())

    def report_again(self) -> list[RelPath]:
        """Report every capture that was not released, in order: a new session begins.

        Returns the paths that were made to hold something else since their last capture: it has to be told after that.
        """
        now = asyncio.get_running_loop().time()
        captured: dict[RelPath, Entry | None] = {}
        for number in sorted(self._unreleased):
            row = self._unreleased[number]
            self._report(row, None, now)
            captured[row.path] = row.entry
        return [path for path, entry in captured.items() if path in self._last and self._last[path] != entry]

    async def hold(self, names: Sequence[HeldName]) -> list[RelPath]:
        """Capture these names from now on. What was captured and not released is newer than what was `seen`.

        Returns the paths of which something else than `seen` was reported before: should that have gone meanwhile, it
        has to be told, though it is no new state.
        """
        async with self._turn:
            for name in names:
                if gift := self._gifts.untold(name.path):
                    await self._tell_given(gift)
            pending = {row.path for row in self._unreleased.values()}
            fresh = [name for name in names if name.path not in self._last or name.path not in pending]
            await self._site.threads.record(partial(self._put, fresh))
            self._last.update((name.path, name.seen) for name in fresh)
        self._look([name.path for name in names])
        return [name.path for name in names if self._site.index.entry(name.path) != name.seen]

    async def unhold(self, paths: Sequence[RelPath]) -> list[RelPath]:
        """Stop capturing these names and drop their captures.

        Returns the paths whose present state may not have been reported.
        """
        async with self._turn:
            leaving = set(paths)
            unreleased = [row for row in self._unreleased.values() if row.path in leaving]
            numbers = [row.id for row in unreleased]
            await self._site.threads.record(partial(self._remove, numbers, list(paths)))
            self._forget(numbers)
            # Whether or not a capture was told of, its report counts for nothing by now.
            untold = {row.path for row in unreleased} | (leaving & self._postponed)
            for path in paths:
                self._site.outbox.drop_captures(path)
                self._last.pop(path, None)
                self._postponed.discard(path)
            self._gifts.forget(paths)
        self._retry_postponed()
        return list(untold)

    async def release(self, captures: Sequence[int]) -> None:
        """Drop these captures."""
        async with self._turn:
            numbers = [number for number in captures if number in self._unreleased]
            await self._site.threads.record(partial(self._remove, numbers, []))
            self._forget(numbers)
        self._retry_postponed()

    def content_file(self, capture: int) -> Path | None:
        """Return the file that holds a capture's content, or None where there is none."""
        row = self._unreleased.get(capture)
        return None if row is None or row.file is None else self._directory / row.file

    def _report(self, row: CaptureRow, content: bytes | None, since: float) -> None:
        is_small = isinstance(row.entry, File) and row.entry.size <= INLINE_BYTES_MAX
        change = Change(row.path, row.entry, content if is_small else None, capture=row.id, given=row.given)
        self._site.outbox.capture(change, since)

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            row = self._unreleased.pop(number)
            self._size -= held_size_of(row.entry)

    def _retry_postponed(self) -> None:
        if self._postponed:
            self._look(list(self._postponed))

    def _add(self, path: RelPath, entry: Entry | None, file: str | None) -> CaptureRow:
        with self._site.database.transaction() as connection:
            number = capture_rows.add(connection, path, entry, file)
            held_names.put(connection, path, entry)
        return CaptureRow(number, path, entry, file)

    def _put(self, names: Sequence[HeldName]) -> None:
        with self._site.database.transaction() as connection:
            for name in names:
                held_names.put(connection, name.path, name.seen)

    def _add_given(self, gift: Gift) -> CaptureRow:
        with self._site.database.transaction() as connection:
            number = capture_rows.add(connection, gift.path, gift.entry, None, given=gift.update)
            given_rows.remove(connection, gift.path)
        return CaptureRow(number, gift.path, gift.entry, None, gift.update)

    def _remove(self, captures: Sequence[int], paths: Sequence[RelPath]) -> None:
        with self._site.database.transaction() as connection:
            files = capture_rows.remove(connection, captures)
            for path in paths:
                files += capture_rows.remove_path(connection, path)
                given_rows.remove(connection, path)
                held_names.remove(connection, path)
        for file in files:
            with suppress(OSError):  # the next start removes what no row names
                (self._directory / file).unlink()
