"""Full scans of a near replica: on demand, after lost hints, and now and then in the background.

Owns when a scan is due, and how far the watcher is trusted meanwhile. A scan names suspects; the looks find out.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from dirsync.core.events import EventName
from dirsync.core.paths import ROOT
from dirsync.disk.scan import scan
from dirsync.errors import RootLost, StateError
from dirsync.limits import SCAN_DURATION_FACTOR, SCAN_DURATION_FACTOR_BLIND, SCAN_INTERVAL_SECONDS
from dirsync.replica import mounts
from dirsync.replica.settling import Settling
from dirsync.replica.site import Site
from dirsync.replica.watching import Watching


class Scanning:
    """The scans of one replica."""

    def __init__(self, site: Site, settling: Settling, watching: Watching, on_lost: Callable[[str], None]) -> None:
        self._site = site
        self._settling = settling
        self._watching = watching
        self._on_lost = on_lost
        # One scan at a time: a second one would only slow the first down.
        self._turn = asyncio.Lock()
        self._wanted = asyncio.Event()
        # Of the last two: one that a disk has held up says nothing of what a scan costs.
        self._durations: deque[float] = deque(maxlen=2)
        self._is_proven = True
        self._first_is_done = asyncio.Event()
        self._is_fresh = False

    def want(self) -> None:
        """Have a scan begin soon; what an earlier one found does not do any more."""
        self._is_fresh = False
        self._wanted.set()

    async def full(self) -> None:
        """Scan everything now; what is suspicious is being looked at afterwards. Raises RootLost."""
        async with self._turn:
            await self._scan()

    async def first(self) -> None:
        """Scan at the start: a snapshot asked for right after need not scan again. Raises RootLost."""
        try:
            async with self._turn:
                await self._scan()
                self._is_fresh = True
        finally:
            self._first_is_done.set()

    async def full_unless_fresh(self) -> None:
        """Scan everything, unless the first scan is still fresh. Raises RootLost."""
        await self._first_is_done.wait()
        async with self._turn:
            if not self._is_fresh or not await self.is_watched():
                await self._scan()
            self._is_fresh = False

    async def is_watched(self) -> bool:
        """Return whether every change before this call has been hinted at.

        A watcher that was silent lately is not asked: whoever wants to know would wait for nothing each time.
        """
        if self._is_proven and not await self._watching.barrier():
            self._is_proven = False
            self._wanted.set()  # have it revived, and scan for what it missed
        return self._is_proven

    async def run(self) -> None:
        """Scan in the background, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._interval()):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            if self._site.is_lost:
                continue
            if not self._is_proven:
                await self._revive()
            try:
                await self.full()
            except RootLost:
                continue  # it was announced, and a scan follows when the root is back

    async def _scan(self) -> None:
        site, loop = self._site, asyncio.get_running_loop()
        ground, begin = site.ground, loop.time()
        try:
            call = partial(scan, ground.root, site.index.known, site.rules.ignores)
            found = await site.threads.bulk(call)
            if ROOT in found.unreadable:
                raise RootLost(f"the directory {site.directory} cannot be listed: {found.unreadable[ROOT]}")
        except RootLost as lost:
            self._on_lost(str(lost))
            raise
        self._durations.append(loop.time() - begin)
        try:
            await site.threads.record(partial(mounts.note, site.database, ground.root, found))
        except StateError as error:
            site.emit(EventName.ERROR, None, {"reason": str(error)})
        # The hints about what the scan saw are let in first: what nobody hinted at is the scan's own find.
        await self.is_watched()
        if site.ground is not ground:
            raise RootLost(f"the directory {site.directory} was lost meanwhile")
        if found.has_directory_links:
            self._watching.avoid_links()
        self._settling.take_scan(found)
        self._settling.recheck_oddities(found)

    async def _revive(self) -> None:
        """Ask a silent watcher once more, then build it anew; whether that helped is seen at the next scan."""
        self._is_proven = await self._watching.barrier()
        if not self._is_proven and not self._site.is_lost:
            await self._watching.restart()

    def _interval(self) -> float:
        is_trusted = self._is_proven and not self._watching.has_gaps
        factor = SCAN_DURATION_FACTOR if is_trusted else SCAN_DURATION_FACTOR_BLIND
        return max(SCAN_INTERVAL_SECONDS, factor * min(self._durations, default=0.0))
