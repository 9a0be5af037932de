"""The chunks of large contents that a near replica knows.

Remembered for what was sent and received, because that is what an edit starts from, and the old content is gone then.
They are cut when nothing is being transferred, so a transfer does not pay for an edit that may never come. A cache:
what is not known costs time or bytes, never more.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from dirsync.core.chunks import DELTA_BYTES_MIN, Manifest, average_of
from dirsync.core.entry import Digest
from dirsync.core.events import EventName
from dirsync.errors import Refusal, RootLost, StateError
from dirsync.replica.site import Site
from dirsync.replica.sources import Comparison, Supply
from dirsync.store import manifest_rows

_WISHES_MAX = 64
"""Contents that wait to be cut; the newest count: after a first synchronisation not all of it is read again."""
_FRESH_MAX = 8
"""Manifests that were not written yet; a far end that tells more of them loses the first."""
_READ_BYTES = 4 * 1024 * 1024
"""Between two looks whether a transfer has begun."""

Find = Callable[[Digest], Awaitable[tuple[Supply, int] | None]]
"""Finds a content in the replica, and its size."""


class Manifests:
    """Those of one replica. `find` is asked for what is to be cut."""

    def __init__(self, site: Site, find: Find) -> None:
        self._site = site
        self._find = find
        self._fresh: dict[Digest, Manifest] = {}
        self._wishes: deque[tuple[Digest, int]] = deque(maxlen=_WISHES_MAX)
        self._is_wished = asyncio.Event()
        self._transfers = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def get(self, digest: Digest) -> Manifest | None:
        """Return the chunks of a content, where they are known. Raises StateError."""
        if digest in self._fresh:
            return self._fresh[digest]
        return await self._site.threads.record(partial(self._read, digest))

    async def made(self, digest: Digest) -> Manifest | None:
        """Return the chunks of a content that is known, or here: it is read then. Raises StateError."""
        known = await self.get(digest)
        if known is None:
            known = await self._cut(digest, is_urgent=True)
            if known is not None:
                self.learn(digest, known)
        return known

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """Remember the chunks of a content; they are written behind."""
        self._fresh[digest] = manifest
        if len(self._fresh) > _FRESH_MAX:
            del self._fresh[next(iter(self._fresh))]
        self._is_wished.set()

    async def forget(self, digest: Digest) -> None:
        """Have no more use for these: they did not lead to the content they were said to. Raises StateError."""
        self._fresh.pop(digest, None)
        await self._site.threads.record(partial(self._remove, digest))

    def wish(self, digest: Digest, size: int) -> None:
        """Learn the chunks of a content when there is time; it may have no place yet."""
        if size >= DELTA_BYTES_MIN and (digest, size) not in self._wishes:
            self._wishes.append((digest, size))
            self._is_wished.set()

    def placed(self) -> None:
        """What was wished for may have its place now."""
        if self._wishes:
            self._is_wished.set()

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """Cut nothing for the time of the block."""
        self._transfers += 1
        self._is_quiet.clear()
        try:
            yield
        finally:
            self._transfers -= 1
            if self._transfers == 0:
                self._is_quiet.set()

    async def run(self) -> None:
        """Do what was wished for, until cancelled."""
        while True:
            await self._is_wished.wait()
            self._is_wished.clear()
            await self._is_quiet.wait()
            try:
                await self._fulfil()
                await self._save()
            except StateError as error:
                self._fresh.clear()
                self._site.emit(EventName.ERROR, None, {"reason": str(error)})

    async def _fulfil(self) -> None:
        waiting, self._wishes = self._wishes, deque(maxlen=_WISHES_MAX)
        for digest, size in waiting:
            if self._site.index.place_of(digest) is None:
                self._wishes.append((digest, size))
            elif await self.get(digest) is None and (manifest := await self._cut(digest, is_urgent=False)) is not None:
                self._fresh[digest] = manifest
                await self._save()

    async def _cut(self, digest: Digest, *, is_urgent: bool) -> Manifest | None:
        """Read a content; None where it is not here, or not that content any more."""
        try:
            found = await self._find(digest)
            if found is None or found[1] < DELTA_BYTES_MIN:
                return None
            supply, size = found
            comparison = Comparison(supply, 0, size, average_of(size))
            try:
                while await self._site.threads.bulk(partial(comparison.next, _READ_BYTES)):
                    if not is_urgent:
                        await self._is_quiet.wait()
            finally:
                await self._site.threads.surely(supply.close)
            return Manifest.of(average_of(size), bytes(comparison.rows))
        except (Refusal, RootLost):
            return None

    async def _save(self) -> None:
        if self._fresh:
            saved = dict(self._fresh)
            await self._site.threads.record(partial(self._write, saved))
            for digest, manifest in saved.items():
                if self._fresh.get(digest) is manifest:
                    del self._fresh[digest]

    # In the thread of the database

    def _read(self, digest: Digest) -> Manifest | None:
        with self._site.database.transaction() as connection:
            return manifest_rows.get(connection, digest)

    def _remove(self, digest: Digest) -> None:
        with self._site.database.transaction() as connection:
            manifest_rows.remove(connection, digest)

    def _write(self, manifests: dict[Digest, Manifest]) -> None:
        with self._site.database.transaction() as connection:
            manifest_rows.put(connection, manifests.items())
