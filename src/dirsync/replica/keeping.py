"""The kept versions of a near replica: what was replaced or deleted, and how it comes back.

Owns their rows and ids, and how long they stay. The files are moved by the apply; their rows follow in the same
thread, and what a crash left without a row gets one at the next start. A version is given up in its row first, then
its file goes: what is listed is there.
"""

import asyncio
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice

from dirsync.core.entry import Digest, Entry
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.core.versions import Version
from dirsync.disk.kept import PATH_HASH_CHARS, Kept, path_hash
from dirsync.disk.leftovers import Stray
from dirsync.disk.reasons import reason_of
from dirsync.errors import DiskError, Refusal, RootLost, StateError
from dirsync.limits import KEPT_CLEARED_AT_ONCE
from dirsync.replica.site import Ground, Site
from dirsync.store import leaving_names, version_rows
from dirsync.store.version_rows import VersionRow

_DAY_NS = 86_400 * 1_000_000_000
_RECOVERED = b"recovered-"
"""Begins the path of a version whose own path nobody knows any more; the hash of that follows."""
_PATH_HASH = re.compile(b"[0-9a-f]{%d}" % PATH_HASH_CHARS)
_WITHOUT_A_NAME = "something that was set aside has lost its name; it is kept under this one, for `dirsync restore`"


class Versions:
    """The kept versions. `keep_days` and `size_max` bound them; the newest of each path stays longest.

    `is_excessive` is set where they have become too large together.
    """

    def __init__(self, site: Site, keep_days: float, size_max: int) -> None:
        self._site = site
        self._keep_days = keep_days
        self._size_max = size_max
        self._size = 0
        self._recording = threading.Lock()
        # Guarded by the lock.
        self._unrecorded: list[Kept] = []
        self._stuck: dict[bytes, RelPath] = {}
        self._is_name_noted = False
        # Changed in transactions, so that nothing is given up between being found and being used.
        self._used: Counter[int] = Counter()
        self.is_excessive = asyncio.Event()

    def record(self, kept: Sequence[Kept]) -> dict[str, str]:
        """Give each kept file a version; return the ids by file. Blocking, from any thread.

        Where the state cannot be written they get theirs with the next ones, or at the next start; that is announced.
        """
        with self._recording:
            try:
                return self._record(kept)
            except StateError as error:
                self._tell(EventName.ERROR, self._unrecorded[0].path, str(error))
                return {}

    def take_up(self, stuck: Mapping[bytes, RelPath]) -> None:
        """Have this become versions soon: the paths of what no apply could keep, by its name in the staging area."""
        with self._recording:
            self._stuck.update(stuck)

    @property
    def is_behind(self) -> bool:
        """Whether something was set aside that has no version yet."""
        return bool(self._unrecorded or self._stuck)

    def catch_up(self) -> None:
        """Give a version to what has none yet. Blocking, from any thread. Raises StateError."""
        with self._recording:
            try:
                self._keep_stuck()
            except (DiskError, RootLost) as error:
                raise StateError(str(error)) from error
            self._record(())

    def _keep_stuck(self) -> None:
        if not self._stuck:
            return
        staging = self._site.ground.staging
        for name, path in list(self._stuck.items()):
            stray = staging.stuck(path, name)
            if stray is not None:
                self._keep(stray, path, self._unrecorded)
            del self._stuck[name]
        self._sync(self._unrecorded)

    def _record(self, kept: Sequence[Kept]) -> dict[str, str]:
        found = {each.file: each for each in (*self._unrecorded, *kept)}
        waiting = sorted(found.values(), key=lambda each: self._site.kept.kept_ns(each.file))
        if not waiting:
            return {}
        self._unrecorded = waiting
        with self._site.database.transaction() as connection:
            rows = [self._add(connection, each) for each in waiting]
            if self._is_name_noted:
                leaving_names.remove(connection, (each.path for each in waiting))
        self._unrecorded = []
        self._size += sum(row.size for row in rows)
        if self._size > self._size_max:
            self._site.threads.tell(self.is_excessive.set)
        return {row.file: self._id(row.number) for row in rows}

    def _tell(self, event: EventName, path: RelPath, reason: str) -> None:
        self._site.threads.tell(partial(self._site.emit, event, path, {"reason": reason}))

    def note_names(self, paths: Sequence[RelPath]) -> None:
        """Have these names durably, because no index row has them. Blocking, from any thread. Raises DiskError."""
        try:
            with self._site.database.transaction() as connection:
                leaving_names.add(connection, paths)
        except StateError as error:
            raise DiskError(str(error)) from error
        self._is_name_noted = True

    def _add(self, connection: sqlite3.Connection, kept: Kept) -> VersionRow:
        kept_ns = self._site.kept.kept_ns(kept.file)
        number = version_rows.add(connection, kept.path, kept.entry, kept_ns=kept_ns, why=kept.why, file=kept.file)
        return VersionRow(number, kept.path, kept.entry, kept_ns, kept.why, kept.file)

    async def history(self, path: RelPath) -> Sequence[Version]:
        """Return the kept versions of a path, newest first, as their files are now.

        A program that still had one open may have written to it since it was set aside.
        """

        def read() -> list[VersionRow]:
            with self._site.database.transaction() as connection:
                return version_rows.of_path(connection, path)

        rows = await self._site.threads.record(read)
        entries = await self._site.threads.bulk(lambda: [self._present(row) for row in rows])
        for row, entry in zip(rows, entries, strict=True):
            if entry != row.entry:
                await self._site.threads.record(partial(self._correct, row.number, entry))
        return [self._version(replace(row, entry=entry)) for row, entry in zip(rows, entries, strict=True)]

    def _present(self, row: VersionRow) -> Entry:
        try:
            return self._site.kept.second_look(row.file, row.entry)
        except OSError:
            return row.entry  # whoever reads it is told why it cannot be read

    async def get(self, version: str) -> tuple[Version, str]:
        """Return a version and its file. Raises Refusal where there is no such one here."""
        async with self.used(version) as found:
            return found

    @asynccontextmanager
    async def used(self, version: str) -> AsyncIterator[tuple[Version, str]]:
        """Lend a version and its file, which stays for the time of the block.

        Raises Refusal where there is none, and where a program that had it open is still writing to it.
        """
        row = await self._site.threads.record(partial(self._take, self._number(version)))
        if row is None:
            raise Refusal(f"there is no version {version}; it may have been removed because of its age")
        try:
            # A program that still had the file open may have written to it since it was set aside.
            entry = await self._site.threads.bulk(partial(self._second_look, row.file, row.entry))
            if entry != row.entry:
                await self._site.threads.record(partial(self._correct, row.number, entry))
            yield self._version(replace(row, entry=entry)), row.file
        finally:
            self._used[row.number] -= 1
            if not self._used[row.number]:
                del self._used[row.number]

    def _take(self, number: int) -> VersionRow | None:
        with self._site.database.transaction() as connection:
            row = version_rows.get(connection, number)
            if row is not None:
                self._used[number] += 1
        return row

    def _correct(self, number: int, entry: Entry) -> None:
        with self._site.database.transaction() as connection:
            version_rows.set_entry(connection, number, entry)

    def _second_look(self, file: str, entry: Entry) -> Entry:
        try:
            if self._site.kept.is_being_written(file):
                raise Refusal("a program is still writing to this version; try again when it has finished")
            return self._site.kept.as_it_is(file, entry)
        except OSError:
            return entry  # whoever reads it is told why it cannot be read

    def with_content(self, digest: Digest) -> Version | None:
        """Return a version with this content. Blocking, from any thread."""
        with self._site.database.transaction() as connection:
            rows = version_rows.with_digest(connection, digest)
        return self._version(rows[0]) if rows else None

    def open_content(self, digest: Digest) -> int | None:
        """Return a descriptor to read this content from; None where no version has it. Blocking, from any thread."""
        with self._site.database.transaction() as connection:
            rows = version_rows.with_digest(connection, digest)
        for row in rows:
            with suppress(DiskError):  # given up meanwhile, or unreadable: another one may do
                return self._site.kept.open(row.file)
        return None

    def adopt(self, ground: Ground) -> None:
        """Give a version to whatever a crash left behind: in the staging area, and among the kept files. Blocking.

        Where nothing knows any more what it was called, it gets a name of ours, which is announced. Called once for a
        ground, before anything is staged there. Raises DiskError and StateError.
        """
        hashes: dict[bytes, RelPath] = {}
        with self._site.database.transaction() as connection:
            leaving = leaving_names.load(connection)
            # Where a sync had failed, a power cut may have undone the move of a file whose version is recorded.
            missing = version_rows.files(connection) - self._site.kept.files()
            moving = version_rows.paths_of(connection, missing)

        def path_of(hashed: bytes) -> RelPath | None:
            if not hashes:
                known = (*self._site.index.known, *leaving, *moving, *self._stuck.values())
                hashes.update((path_hash(path), path) for path in known)
            return hashes.get(hashed) or _recovered(hashed)

        strays: list[Kept] = []
        for stray in ground.staging.recover(path_of):
            if stray.path is not None:
                self._keep(stray, stray.path, strays)
        self._sync(strays)
        self._stuck.clear()
        with self._site.database.transaction() as connection:
            recorded = version_rows.files(connection).union(version_rows.discarded(connection))
        self._is_name_noted = bool(leaving)
        found = [*strays, *self._site.kept.orphans(recorded | {kept.file for kept in strays}, path_of)]
        self.record(found)
        for nameless in (kept.path for kept in found if kept.path.startswith(_RECOVERED)):
            self._tell(EventName.NOTICE, nameless, _WITHOUT_A_NAME)
        if (leaving or missing) and not self._unrecorded:
            with self._site.database.transaction() as connection:
                leaving_names.remove(connection, leaving)
                version_rows.forget(connection, missing)
        with suppress(DiskError):  # it cannot be removed now; it is after the next apply
            ground.staging.tidy()

    def clear_some(self) -> bool:
        """Give up some versions that are too old, or too much together; return whether there may be more. Blocking.

        What is in use stays. Raises StateError.
        """
        with self._site.database.transaction() as connection:
            rows = list(islice(self._superfluous(connection), KEPT_CLEARED_AT_ONCE))
            version_rows.discard(connection, rows)
            files = version_rows.discarded(connection)
            self._size = version_rows.total_size(connection)
        if files:
            self._remove(files)
        return len(rows) == KEPT_CLEARED_AT_ONCE

    def _superfluous(self, connection: sqlite3.Connection) -> Iterator[VersionRow]:
        """Yield what is to go: what is too old, then the most dispensable until the rest is not too large.

        The version kept last stays whatever its size, and where it alone is too large nothing else goes for it.
        """
        oldest_ns = time.time_ns() - int(self._keep_days * _DAY_NS)
        excess = version_rows.total_size(connection) - self._size_max
        last = version_rows.last(connection)
        if last is not None and last.size > self._size_max and last.kept_ns >= oldest_ns:
            excess -= last.size
        for row in version_rows.expired(connection, oldest_ns):
            if not self._used[row.number]:
                excess -= row.size
                yield row
        for row in version_rows.dispensable(connection, self._size_max):
            if excess <= 0:
                return
            if row.kept_ns >= oldest_ns and not self._used[row.number]:
                excess -= row.size
                yield row

    def _remove(self, files: list[str]) -> None:
        """Remove discarded files; what cannot be removed is tried again with the next ones."""
        removed = []
        for file in files:
            with suppress(DiskError):
                self._site.kept.remove(file)
                removed.append(file)
        try:
            # Durable before it is forgotten: a file that comes back without a row would be taken for a version.
            self._site.kept.sync([])
        except OSError:
            return
        with self._site.database.transaction() as connection:
            version_rows.forget_discarded(connection, removed)

    def _keep(self, stray: Stray, path: RelPath, kept: list[Kept]) -> None:
        try:
            self._site.kept.keep_all(stray.directory, stray.name, path, kept)
        except OSError as error:
            raise DiskError(f"what was left in the staging area cannot be kept: {reason_of(error)}") from error

    def _sync(self, kept: Sequence[Kept]) -> None:
        try:
            self._site.kept.sync(kept)
        except OSError as error:
            raise DiskError(f"the kept versions cannot be made durable: {reason_of(error)}") from error

    def _version(self, row: VersionRow) -> Version:
        return Version(self._id(row.number), self._site.role, row.path, row.entry, row.kept_ns, row.why)

    def _id(self, number: int) -> str:
        return f"{self._site.role.value}{number}"

    def _number(self, version: str) -> int:
        role, digits = version[:1], version[1:]
        if role != self._site.role.value or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
            raise Refusal(f"there is no version {version} on this server")
        return int(digits)


def _recovered(hashed: bytes) -> RelPath | None:
    """Return the path for what only a path hash is known of; None where this is none, and so nothing of ours."""
    return RelPath(_RECOVERED + hashed) if _PATH_HASH.fullmatch(hashed) else None
