"""The kept versions of a near replica: what was replaced or deleted, and how it comes back.

Owns their rows and ids, and how long they stay. The files are moved by the apply; their rows follow in the same
thread, and what a crash left without a row gets one at the next start.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dirsync.core.entry import Digest
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.core.versions import Version, Why
from dirsync.disk.kept import Kept, path_hash
from dirsync.disk.staging import Stray
from dirsync.errors import DiskError, Refusal, StateError
from dirsync.replica.site import Ground, Site
from dirsync.store import version_rows
from dirsync.store.version_rows import VersionRow

_DAY_NS = 86_400 * 1_000_000_000


class Versions:
    """The kept versions. `keep_days` and `size_max` bound them; the oldest go first."""

    def __init__(self, site: Site, keep_days: float, size_max: int) -> None:
        self._site = site
        self._keep_days = keep_days
        self._size_max = size_max

    def record(self, kept: Sequence[Kept]) -> dict[str, str]:
        """Give each kept file a version; return the ids by file. Blocking, from any thread.

        Where the state cannot be written they get theirs at the next start; that is announced.
        """
        if not kept:
            return {}
        now_ns = time.time_ns()
        try:
            with self._site.database.transaction() as connection:
                return {
                    each.file: self._id(
                        version_rows.add(
                            connection, each.path, each.entry, kept_ns=now_ns, why=each.why, file=each.file
                        )
                    )
                    for each in kept
                }
        except StateError as error:
            self._site.threads.tell(partial(self._site.emit, EventName.ERROR, kept[0].path, {"reason": str(error)}))
            return {}

    async def history(self, path: RelPath) -> Sequence[Version]:
        """Return the kept versions of a path, newest first."""

        def read() -> list[VersionRow]:
            with self._site.database.transaction() as connection:
                return version_rows.of_path(connection, path)

        return [self._version(row) for row in await self._site.threads.record(read)]

    async def get(self, version: str) -> tuple[Version, str]:
        """Return a version and its file. Raises Refusal where there is no such one here."""
        number = self._number(version)

        def read() -> VersionRow | None:
            with self._site.database.transaction() as connection:
                return version_rows.get(connection, number)

        row = await self._site.threads.record(read)
        if row is None:
            raise Refusal(f"there is no version {version}; it may have been removed because of its age")
        return self._version(row), row.file

    def with_content(self, digest: Digest) -> tuple[Version, str] | None:
        """Return a version with this content, and its file. Blocking, from any thread."""
        with self._site.database.transaction() as connection:
            row = version_rows.by_digest(connection, digest)
        return None if row is None else (self._version(row), row.file)

    def adopt(self, ground: Ground) -> None:
        """Give a version to whatever a crash left behind: in the staging area, and among the kept files. Blocking.

        Called once for a ground, before anything is staged there. Raises DiskError and StateError.
        """
        hashes: dict[bytes, RelPath] = {}

        def path_of(hashed: bytes) -> RelPath | None:
            if not hashes:
                hashes.update((path_hash(path), path) for path in self._site.index.known)
            return hashes.get(hashed)

        strays = [self._keep(stray, stray.path) for stray in ground.staging.recover(path_of) if stray.path is not None]
        with self._site.database.transaction() as connection:
            recorded = version_rows.files(connection)
        self.record([*strays, *self._site.kept.orphans(recorded | {kept.file for kept in strays}, path_of)])

    def prune(self) -> None:
        """Remove versions that are too old, then the oldest past the size. Blocking."""
        with self._site.database.transaction() as connection:
            gone = version_rows.expired(connection, time.time_ns() - int(self._keep_days * _DAY_NS))
            version_rows.remove(connection, [row.number for row in gone])
            excess = version_rows.total_size(connection) - self._size_max
            while excess > 0 and (row := version_rows.oldest(connection)) is not None:
                version_rows.remove(connection, [row.number])
                gone.append(row)
                excess -= row.size
        for row in gone:
            with suppress(DiskError):  # the next start finds it again as a file without a row
                self._site.kept.remove(row.file)

    def _keep(self, stray: Stray, path: RelPath) -> Kept:
        try:
            file, entry = self._site.kept.keep(stray.directory, stray.name, path, stray.entry)
            self._site.kept.sync()
        except OSError as error:
            raise DiskError(f"what a crash left behind cannot be kept: {error.strerror}") from error
        return Kept(file, entry, path, Why.REPLACED)

    def _version(self, row: VersionRow) -> Version:
        return Version(self._id(row.number), self._site.role, row.path, row.entry, row.kept_ns, row.why)

    def _id(self, number: int) -> str:
        return f"{self._site.role.value}{number}"

    def _number(self, version: str) -> int:
        role, digits = version[:1], version[1:]
        if role != self._site.role.value or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
            raise Refusal(f"there is no version {version} on this server")
        return int(digits)
