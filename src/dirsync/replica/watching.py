"""The watcher of a near replica, as the event loop sees it: hints become paths, marks prove that it is alive.

Owns the crossing from the watcher's threads, and which hints are let in. Believes nothing else of what it hears.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from dirsync.core.events import EventName
from dirsync.core.paths import RelPath, parse_path
from dirsync.disk.hints import Hints
from dirsync.disk.root import fingerprint_of
from dirsync.disk.watch import Watcher
from dirsync.errors import InvalidPath
from dirsync.limits import BURST_HINTS
from dirsync.replica.settling import Settling
from dirsync.replica.site import Site

_MARK_SECONDS = 1.0
"""A mark that did not come by within this proves nothing. Well below what a client waits for a listing."""


class Watching:
    """One watcher at a time. `on_doubt` is called where the root may be lost, `on_loss` where hints may be."""

    def __init__(
        self, site: Site, settling: Settling, on_doubt: Callable[[], None], on_loss: Callable[[], None]
    ) -> None:
        self._site = site
        self._settling = settling
        self._on_doubt = on_doubt
        self._on_loss = on_loss
        self._top = os.fsencode(site.directory)
        self._watcher: Watcher | None = None
        self._marks: dict[bytes, asyncio.Future[None]] = {}
        self._made: set[bytes] = set()  # marks that may still be there; changed by one thread only
        self._said: set[str] = set()

    async def start(self) -> None:
        """Begin to watch; whatever changes from now on is hinted at, or found by scanning."""
        loop = asyncio.get_running_loop()
        watcher: Watcher | None = None

        def on_hints(hints: Hints) -> None:
            hints.paths -= {raw for raw in hints.paths - hints.written if self._is_as_known(raw)}
            if hints:
                loop.call_soon_threadsafe(self._take, watcher, hints)

        def on_notice(reason: str) -> None:
            loop.call_soon_threadsafe(self._announce, reason)

        watcher = Watcher(Path(self._site.directory), self._site.state / "watch", on_hints, on_notice)
        self._watcher = watcher
        await asyncio.to_thread(watcher.start)

    async def stop(self) -> None:
        """End the watcher and its threads."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await asyncio.to_thread(watcher.stop)

    async def restart(self) -> None:
        """Watch anew; what happened in between is left to a scan."""
        await self.stop()
        await self.start()

    def avoid_links(self) -> None:
        """Say that links to directories stand in the tree."""
        if self._watcher is not None:
            self._watcher.avoid_links()

    @property
    def has_gaps(self) -> bool:
        """Whether some directories are known not to be watched, however alive the watcher is."""
        return self._watcher is not None and self._watcher.has_gaps

    async def barrier(self) -> bool:
        """Wait until all hints so far have been taken; False where the watcher does not prove to be alive."""
        watcher = self._watcher
        if watcher is None or not watcher.is_watching:
            return False
        awaited = frozenset(self._marks)
        name = os.fsencode(secrets.token_hex(8))
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._marks[name] = seen
        try:
            async with asyncio.timeout(_MARK_SECONDS):
                await self._site.threads.record(partial(self._mark, watcher, name, awaited))
                await seen
        except (TimeoutError, OSError):
            return False
        finally:
            del self._marks[name]
        with suppress(TimeoutError, OSError):  # tried again with the next mark
            async with asyncio.timeout(_MARK_SECONDS):
                await self._site.threads.record(partial(self._unmark, watcher, awaited))
        self._said.clear()
        return True

    def _mark(self, watcher: Watcher, name: bytes, awaited: frozenset[bytes]) -> None:
        self._unmark(watcher, awaited)  # a watcher that is silent leaves one at a time
        self._made.add(name)
        watcher.mark(name)

    def _unmark(self, watcher: Watcher, awaited: frozenset[bytes]) -> None:
        for name in self._made - awaited:
            watcher.unmark(name)
            self._made.discard(name)

    def _announce(self, reason: str) -> None:
        """Say once what hinders the watcher, until it works again: it is built anew again and again."""
        if reason not in self._said:
            self._said.add(reason)
            self._site.emit(EventName.NOTICE, None, {"reason": reason})

    def _is_as_known(self, raw: bytes) -> bool:
        """Return whether the stat proves that nothing is new at a path: most hints are at what an apply has just done.

        Runs in the watcher's threads: what is dropped here costs the event loop nothing.
        """
        path = RelPath(raw)
        known = self._site.placed.get(path) or self._site.index.get(path)
        if known is None or path in self._settling.holds:
            return False
        try:
            return known.is_proven_by(fingerprint_of(os.lstat(os.path.join(self._top, raw))))
        except OSError:
            return False

    def _take(self, watcher: Watcher | None, hints: Hints) -> None:
        if self._watcher is not watcher or watcher is None:
            return
        if hints.is_scan_needed or (len(hints.paths) > BURST_HINTS and not watcher.tells_losses):
            self._on_loss()
        if b"" in hints.paths:
            self._on_doubt()
        paths = [path for raw in hints.paths if (path := _parsed(raw)) is not None]
        self._settling.conclusions.doubt(path for raw in hints.written if (path := _parsed(raw)) is not None)
        hidden = set(self._site.rules.hidden_among((path, None) for path in paths))
        self._settling.hint([path for path in paths if path not in hidden] if hidden else paths)
        for raw in hints.trees:
            path = _parsed(raw)
            if path is not None and not self._site.rules.hides(path) and not self._site.rules.ignores(path, True):
                self._settling.hint_tree(path)
        for name in hints.marks:
            seen = self._marks.get(name)
            if seen is not None and not seen.done():
                seen.set_result(None)


def _parsed(raw: bytes) -> RelPath | None:
    """Return the path; None for the root, and for what nothing that could be carried is called (a scan tells why)."""
    try:
        return parse_path(raw) if raw else None
    except InvalidPath:
        return None
