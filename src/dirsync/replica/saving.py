"""What a near replica writes behind: its index, about once a second; and what it clears away by the hour.

Owns no fact. A row not written yet is read from the directory again after a crash. But what is about to be replaced or
deleted has a row first: after a crash in the middle of that, the rows say what the kept file was called.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from dirsync.core.events import EventName
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.disk.boot import boot_id
from dirsync.errors import StateError
from dirsync.replica.index import Index
from dirsync.replica.keeping import Versions
from dirsync.replica.site import Site
from dirsync.replica.written_out import WrittenOut
from dirsync.store import index_rows, meta
from dirsync.store.database import Database

_BOOT_KEY = "boot"
_WRITTEN_OUT_KEY = "written out"
_AT_WORK_KEY = "at work"
_SAVE_SECONDS = 1.0
_CLEARING_SECONDS = 3_600.0
_CLEARING_FACTOR = 20
"""Between two clearings at least so many times what the last choice took: at the limit they come one after another."""
_CLEARING_REST_SECONDS = 1.0


class IndexWriter:
    """Saves the index of a site, a batch of rows per transaction; never before what was kept has its version.

    Of a file that went, the row that the index is about to lose may be all that knows what it was called.
    """

    def __init__(self, site: Site, versions: Versions) -> None:
        self._site = site
        self._versions = versions
        self._written_out = WrittenOut(0)
        self._is_failing = False
        self._turn = asyncio.Lock()
        self.was_interrupted = False
        """Whether the server of last time was killed, or died, while it was at work."""

    async def load(self) -> None:
        """Read the index of last time.

        After a boot what had changed shortly before is in doubt: a power cut may have undone what nobody had synced,
        and left the stat as it was read.
        """
        self._written_out = WrittenOut(await self._site.threads.record(self._load))

    def _load(self) -> int:
        booted = boot_id()
        with self._site.database.transaction() as connection:
            bound_ns = int.from_bytes(meta.get(connection, _WRITTEN_OUT_KEY) or b"", signed=True)
            if not booted or meta.get(connection, _BOOT_KEY) != booted:
                index_rows.doubt_after(connection, bound_ns)
                meta.put(connection, _BOOT_KEY, booted)
            self.was_interrupted = meta.get(connection, _AT_WORK_KEY) is not None
            meta.put(connection, _AT_WORK_KEY, b"")
            self._site.index = Index(index_rows.load(connection))
        return bound_ns

    async def run(self) -> None:
        """Save what changed, about once a second, until cancelled."""
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await self.save()

    async def save_first(self) -> None:
        """Have a row of a file on the disk before anybody is told of one.

        By that a start recognises a directory that was emptied meanwhile: it is no wish to delete everything.
        """
        if self._site.index.is_unrecorded:
            await self.save()

    async def save(self) -> None:
        """Save what changed; what cannot be saved is announced once and tried again."""
        async with self._turn:
            await self._save()

    async def _save(self) -> None:
        site = self._site
        rows, bound_ns = site.index.take_unsaved(), self._written_out.bound_ns()
        if not rows and not self._versions.is_behind:
            return
        try:
            await site.threads.record(partial(self._write, rows, bound_ns))
            site.index.saved(rows)
            self._is_failing = False
        except StateError as error:
            site.index.put_back(rows)
            if not self._is_failing:
                self._is_failing = True
                site.emit(EventName.ERROR, None, {"reason": str(error)})

    async def close(self) -> None:
        """Save for the last time, and note that nothing was interrupted."""
        await self.save()
        try:
            await self._site.threads.record(self._note_end)
        except StateError as error:
            self._site.emit(EventName.ERROR, None, {"reason": str(error)})

    def _note_end(self) -> None:
        with self._site.database.transaction() as connection:
            meta.remove(connection, _AT_WORK_KEY)

    def _write(self, rows: Sequence[tuple[RelPath, Known | None]], bound_ns: int) -> None:
        self._versions.catch_up()
        if rows:
            with self._site.database.transaction() as connection:
                index_rows.save(connection, rows)
                meta.put(connection, _WRITTEN_OUT_KEY, bound_ns.to_bytes(16, signed=True))


def save_rows(database: Database, rows: Sequence[tuple[RelPath, Known | None]]) -> None:
    """Save rows of an index, None for what is not there any more. Blocking. Raises StateError."""
    with database.transaction() as connection:
        index_rows.save(connection, rows)


async def clear_versions(site: Site, versions: Versions) -> None:
    """Clear away versions that need not be kept any longer, hourly and where they are too large, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        versions.is_excessive.clear()
        is_more, seconds = True, 0.0
        try:
            while is_more:
                begin = loop.time()
                is_more = await site.threads.bulk(versions.clear_some)
                seconds = loop.time() - begin
                # The database is everybody's: with very many versions to choose from, each choice takes a while.
                await asyncio.sleep(seconds)
        except StateError as error:
            site.emit(EventName.ERROR, None, {"reason": str(error)})
        await asyncio.sleep(max(_CLEARING_REST_SECONDS, _CLEARING_FACTOR * seconds))
        try:
            async with asyncio.timeout(_CLEARING_SECONDS):
                await versions.is_excessive.wait()
        except TimeoutError:
            pass
