"""Whether the ground is to be trusted: a root that was lost is waited for, and judged when it is back.

Owns the safety stop of a near replica. While the root is lost nothing is believed, reported or applied.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from dirsync.core.events import EventName
from dirsync.core.reports import Back, Lost
from dirsync.disk.durability import sync_all
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.disk.unlocking import Unlocking
from dirsync.errors import DiskError, RootLost, StateError
from dirsync.limits import SCAN_INTERVAL_SECONDS
from dirsync.replica.identity import Identity, identify
from dirsync.replica.index import Index
from dirsync.replica.mounts import remembered
from dirsync.replica.settling import Settling
from dirsync.replica.site import Ground, Site

_RETRY_SECONDS = 0.5


class Footing:
    """The root of one replica, over time. `on_back` is awaited with the new identity before anything is believed."""

    def __init__(self, site: Site, settling: Settling, on_back: Callable[[Identity], Awaitable[None]]) -> None:
        self._site = site
        self._settling = settling
        self._on_back = on_back
        self._lost = asyncio.Event()
        self._doubted = asyncio.Event()
        self._left: Ground | None = None
        self._is_new_untold = False

    async def gain(self, *, is_durable: bool) -> Identity:
        """Open the directory and recognise it. Raises RootLost, DiskError and StateError.

        What stands there is made durable first, unless it is known to be: an apply that was interrupted may not have
        come to that, and nobody is to be told what a power cut would undo.
        """
        ground, identity = await self._site.threads.bulk(self._open)
        if not is_durable:
            try:
                await self._site.threads.bulk(partial(sync_all, ground.root))
            except OSError as error:
                reason = f"what stands in the directory may not be durable: {reason_of(error)}"
                self._site.emit(EventName.ERROR, None, {"reason": reason})
        if identity.is_new:
            self._site.index = Index()
        self._site.stand_on(ground)
        return identity

    def lose(self, reason: str) -> None:
        """Stop believing and reporting; `run` looks out for the root's return."""
        if self._site.is_lost:
            return
        self._left = self._site.leave(reason)
        self._settling.reset(reason)
        self._site.outbox.turn(Lost(reason))
        self._site.emit(EventName.PAUSED, None, {"reason": reason})
        self._lost.set()
        self._doubted.set()

    def doubt(self) -> None:
        """Have the root verified soon: something happened to the directory itself."""
        self._doubted.set()

    async def run(self) -> None:
        """Verify the root now and then and in doubt, wait for its return where it is lost, until cancelled."""
        while True:
            try:
                # Of something that is mounted over the root, or taken from it, nobody tells.
                async with asyncio.timeout(SCAN_INTERVAL_SECONDS):
                    await self._doubted.wait()
            except TimeoutError:
                pass
            self._doubted.clear()
            if not self._lost.is_set():
                await self._verify()
            while self._lost.is_set():
                self._lost.clear()
                await self._return()

    async def _verify(self) -> None:
        try:
            await self._site.threads.look(self._site.ground.root.verify)
        except RootLost as lost:
            self.lose(str(lost))

    async def _return(self) -> None:
        await self.release()
        while True:
            try:
                identity = await self.gain(is_durable=False)
            except (RootLost, DiskError, StateError):
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                break
        # Recognised again after it was lost once more, a new directory is new still to whoever was not told.
        self._is_new_untold = self._is_new_untold or identity.is_new
        identity = replace(identity, is_new=self._is_new_untold)
        await self._on_back(identity)
        if self._site.is_lost:
            return
        self._is_new_untold = False
        self._site.outbox.turn(Back(identity.is_new))
        self._site.emit(EventName.RESUMED, None, {"reason": identity.reason or "the directory is there again"})

    async def release(self) -> None:
        """Close the directory that was left, once no thread uses it any more."""
        ground, self._left = self._left, None
        if ground is not None:
            await self._site.threads.wait_idle()
            await self._site.threads.bulk(partial(_close, ground))

    def _open(self) -> tuple[Ground, Identity]:
        site = self._site
        root = Root.open(site.directory)
        try:
            root.mounts = remembered(site.database)
            identity = identify(site.database, root, site.index.files > 0, site.rules.ignores)
            unlocking = Unlocking(root, site.state)
            return Ground(root, Staging(root, site.state), unlocking), identity
        except BaseException:
            root.close()
            raise


def _close(ground: Ground) -> None:
    try:
        ground.staging.close()
    except OSError:
        pass  # the directory is gone, and what was staged in it with it
    finally:
        ground.root.close()
