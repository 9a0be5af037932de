"""The durable truth beneath the queues: rows in A's database, contents in the spool.

An update counts as received when `enqueue` returns: its content was synced first, then its row. It counts as applied
when `applied` returns. Each call runs off the loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from dirsync.core.chunks import ContentBytes
from dirsync.core.entry import ChangeKind, Entry, File, Role, size_of
from dirsync.core.holds import Hold, Update, held_size_of
from dirsync.core.paths import RelPath
from dirsync.disk.spool import Spool, SpoolFile
from dirsync.errors import DiskError, Refusal, StateError
from dirsync.store import archive, hold_rows
from dirsync.store.database import Database
from dirsync.store.hold_rows import LockRow, UpdateRow


@dataclass(frozen=True, slots=True)
class Journalled:
    """A hold as it stood when the server last wrote about it."""

    hold: Hold
    since_ns: int
    reason: str


class HoldJournal:
    """Locks and their updates, as they survive a restart. `clock_ns` is the wall clock, for people."""

    def __init__(self, database: Database, spool: Spool, clock_ns: Callable[[], int]) -> None:
        self._database = database
        self._spool = spool
        self._clock_ns = clock_ns
        self._bytes = 0
        # Contents of updates whose rows failed: until the next commit a power cut may still bring such a row back.
        self._doubtful: list[str] = []

    @property
    def held_bytes(self) -> int:
        """What all held updates together count in their limit."""
        return self._bytes

    async def load(self) -> list[Journalled]:
        """Return every lock with its updates in order, and clear away what no row names."""
        locks, updates = await asyncio.to_thread(self._load)
        self._bytes = sum(held_size_of(row.entry) for row in updates)
        holds: dict[RelPath, Journalled] = {}
        for lock in locks:
            seen = {Role.A: lock.seen_a, Role.B: lock.seen_b}
            hold = Hold(lock.path, seen, is_draining=lock.is_draining)
            holds[lock.path] = Journalled(hold, lock.since_ns, lock.reason)
        for row in updates:
            hold = holds[row.path].hold
            hold.updates.append(Update(row.id, row.origin, row.entry, row.change, row.file, row.received_ns))
        return list(holds.values())

    def _load(self) -> tuple[list[LockRow], list[UpdateRow]]:
        with self._database.transaction() as connection:
            self._spool.sweep(frozenset(hold_rows.spool_files(connection)))
            return hold_rows.load_locks(connection), hold_rows.load_updates(connection)

    async def lock(self, hold: Hold) -> int:
        """Make a lock durable and return since when it is one."""
        since = self._clock_ns()
        await asyncio.to_thread(self._lock, hold, since)
        return since

    def _lock(self, hold: Hold, since_ns: int) -> None:
        with self._database.transaction() as connection:
            hold_rows.lock(connection, hold.path, since_ns, hold.seen[Role.A], hold.seen[Role.B])

    async def unlock(self, path: RelPath) -> None:
        """Remove a lock that has no updates left."""
        await asyncio.to_thread(self._unlock, path)

    def _unlock(self, path: RelPath) -> None:
        with self._database.transaction() as connection:
            hold_rows.unlock(connection, path)

    async def set_seen(self, path: RelPath, seen: dict[Role, Entry | None]) -> None:
        """Remember the last recorded states."""
        await asyncio.to_thread(self._set_seen, path, seen[Role.A], seen[Role.B])

    def _set_seen(self, path: RelPath, seen_a: Entry | None, seen_b: Entry | None) -> None:
        with self._database.transaction() as connection:
            hold_rows.set_seen(connection, path, seen_a, seen_b)

    async def set_draining(self, path: RelPath, is_draining: bool, reason: str = "") -> None:
        """Remember that an unlock was asked, or that its drain stopped and why."""
        await asyncio.to_thread(self._set_draining, path, is_draining, reason)

    def _set_draining(self, path: RelPath, is_draining: bool, reason: str) -> None:
        with self._database.transaction() as connection:
            hold_rows.set_draining(connection, path, is_draining, reason)

    async def enqueue(
        self, hold: Hold, origin: Role, entry: Entry | None, kind: ChangeKind, chunks: AsyncIterator[ContentBytes]
    ) -> Update:
        """Append an update, content first. Raises Refusal if the content is not the entry's, DiskError, StateError."""
        file: str | None = None
        if isinstance(entry, File):
            await self._drop_doubtful(hold)
            file = await self._write(entry, chunks)
        seen = hold.seen | {origin: entry}
        received_ns = self._clock_ns()
        try:
            number = await asyncio.to_thread(self._enqueue, hold.path, origin, entry, kind, file, received_ns, seen)
        except StateError:
            if file is not None:
                self._doubtful.append(file)
            raise
        update = Update(number, origin, entry, kind, file, received_ns)
        self._bytes += update.held_size
        return update

    def _enqueue(
        self,
        path: RelPath,
        origin: Role,
        entry: Entry | None,
        kind: ChangeKind,
        file: str | None,
        received_ns: int,
        seen: dict[Role, Entry | None],
    ) -> int:
        with self._database.transaction() as connection:
            number = hold_rows.enqueue(
                connection,
                path,
                origin,
                entry,
                change=kind,
                file=file,
                size=size_of(entry),
                received_ns=received_ns,
            )
            hold_rows.set_seen(connection, path, seen[Role.A], seen[Role.B])
            return number

    async def _write(self, entry: File, chunks: AsyncIterator[ContentBytes]) -> str:
        spooled: SpoolFile = await asyncio.to_thread(self._spool.create)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(spooled.write, chunk)
            if not await asyncio.to_thread(spooled.finish, entry.digest):
                raise Refusal("the captured content arrived damaged")
        except BaseException:
            await asyncio.to_thread(spooled.abandon)
            raise
        return spooled.name

    async def _drop_doubtful(self, hold: Hold) -> None:
        """Have something committed, and drop what waits for that: each try would leave a content behind otherwise."""
        if not self._doubtful:
            return
        doubtful, self._doubtful = self._doubtful, []
        try:
            await self.set_seen(hold.path, hold.seen)
        except StateError:
            self._doubtful += doubtful
            raise
        await asyncio.to_thread(self._spool.remove, doubtful)

    async def content(self, update: Update) -> AsyncIterator[bytes]:
        """Yield the content of an update. Raises DiskError."""
        assert update.file is not None, "only files have content"
        chunks = self._spool.read(update.file)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk

    async def contents(self, updates: Sequence[Update]) -> list[bytes | None]:
        """Return the small contents of these updates, None for one that has none; as far as they can be read.

        Raises DiskError where already that of the first cannot.
        """
        return await asyncio.to_thread(self._contents, updates)

    def _contents(self, updates: Sequence[Update]) -> list[bytes | None]:
        contents: list[bytes | None] = []
        for update in updates:
            try:
                contents.append(None if update.file is None else b"".join(self._spool.read(update.file)))
            except DiskError:
                if not contents:
                    raise
                break
        return contents

    async def applied(self, hold: Hold, updates: Sequence[Update]) -> None:
        """Remove the first updates, which directory_a has held one after the other and whose last one it holds now.

        B's last one is the new base in the same transaction.
        """
        await asyncio.to_thread(self._applied, hold.path, updates, hold.seen[Role.B])
        self._bytes -= sum(update.held_size for update in updates)

    def _applied(self, path: RelPath, updates: Sequence[Update], seen_b: Entry | None) -> None:
        with self._database.transaction() as connection:
            for update in updates:
                hold_rows.remove_update(connection, update.id)
            hold_rows.set_seen(connection, path, updates[-1].entry, seen_b)
            archive.record(connection, [(path, update.entry) for update in updates if update.origin is Role.B])
        self._spool.remove(update.file for update in updates if update.file is not None)
