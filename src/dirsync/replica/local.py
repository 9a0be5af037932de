"""A replica that is here: a directory, watched, read, applied to. It keeps the contract in `interface`.

Puts the parts together and owns their tasks; each promise is kept by one of them: settling (what stands there),
scanning and watching (where to look), applying, capturing, keeping, supplying, footing (is it still the directory).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from dirsync.core.chunks import ContentBytes, Manifest, Piece
from dirsync.core.entry import Digest, Entry, Observed, Role
from dirsync.core.events import Emit, EventName
from dirsync.core.inventory import Row
from dirsync.core.paths import RelPath, is_between
from dirsync.core.reports import ContentAt, ContentRef, HeldName, Look, Report, Result, Step
from dirsync.core.versions import Version
from dirsync.disk.root import RootIdentity
from dirsync.errors import RootLost
from dirsync.limits import INVENTORY_SECONDS
from dirsync.replica.applying import Applying
from dirsync.replica.footing import Footing
from dirsync.replica.identity import Identity
from dirsync.replica.interface import Arrived, unheard
from dirsync.replica.keeping import Versions
from dirsync.replica.restoring import Restoring
from dirsync.replica.saving import IndexWriter, clear_versions
from dirsync.replica.scanning import Scanning
from dirsync.replica.settling import Settling
from dirsync.replica.site import Site
from dirsync.replica.supplying import Contents
from dirsync.replica.watching import Watching
from dirsync.store.database import Database

_GIB = 1024**3
_SNAPSHOT_ENTRIES = 500


class LocalReplica:
    """A near replica, at work from `async with` on: its tasks live and end there, and a failure of one ends all.

    `files` and `size` count the files and links of the last look; `is_new` says that nothing known of the directory
    before the start holds. Entering raises RootLost, StateError and DiskError.
    """

    def __init__(
        self,
        role: Role,
        directory: str,
        state: Path,
        database: Database,
        emit: Emit,
        *,
        ignore: Sequence[str] = (),
        locks_max_bytes: int = 10 * _GIB,
        versions_keep_days: float = 30,
        versions_max_bytes: int = 10 * _GIB,
    ) -> None:
        self._site = Site(role, directory, state, database, emit)
        self._site.rules.change(ignore)
        site = self._site
        self._settling = Settling(site, locks_max_bytes, self._lose)
        self._footing = Footing(site, self._settling, self._come_back)
        self._watching = Watching(site, self._settling, self._footing.doubt, self._want_scan)
        self._scanning = Scanning(site, self._settling, self._watching, self._lose)
        self._versions = Versions(site, versions_keep_days, versions_max_bytes)
        self._applying = Applying(site, self._settling, self._versions, self._lose)
        self._restoring = Restoring(site, self._settling, self._applying, self._versions)
        self._contents = Contents(site, self._settling.holds, self._versions)
        self._writer = IndexWriter(site, self._versions)
        self._identity = Identity(b"", is_new=True)
        self._root_identity = RootIdentity(0, 0)
        self._has_new_rules = False
        self._has_looked = asyncio.Event()
        self._exit = AsyncExitStack()

    @property
    def role(self) -> Role:
        """Which one."""
        return self._site.role

    @property
    def replica_id(self) -> bytes:
        """The id of this replica; another one once the directory came back as a new one."""
        return self._identity.replica_id

    @property
    def is_new(self) -> bool:
        """Whether nothing that was known of the directory before holds."""
        return self._identity.is_new

    @property
    def root_identity(self) -> RootIdentity:
        """Device and inode of the directory."""
        return self._root_identity

    @property
    def files(self) -> int:
        """How many files and links are known."""
        return self._site.index.files

    @property
    def size(self) -> int:
        """Their bytes."""
        return self._site.index.size

    # Life

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            site = self._site
            undo.push_async_callback(site.threads.close)
            undo.callback(site.kept.close)
            await self._load()
            undo.push_async_callback(self._leave)
            undo.push_async_callback(self._writer.close)
            undo.push_async_callback(self._applying.finish)
            await self._watching.start()
            undo.push_async_callback(self._watching.stop)
            tasks = await asyncio.TaskGroup().__aenter__()

            async def end_tasks(*_: object) -> None:
                # Without the body's own error: that one is its caller's, not to be wrapped with ours.
                await tasks.__aexit__(None, None, None)

            undo.push_async_exit(end_tasks)
            running = [
                tasks.create_task(self._settling.run(), name="looks"),
                tasks.create_task(self._footing.run(), name="root"),
                tasks.create_task(self._scan_always(), name="scans"),
                tasks.create_task(self._writer.run(), name="index"),
                tasks.create_task(clear_versions(site, self._versions), name="versions"),
                tasks.create_task(self._contents.manifests.run(), name="manifests"),
            ]
            for task in running:
                undo.callback(task.cancel)
            self._exit = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.__aexit__(kind, error, trace)

    async def _load(self) -> None:
        """Recognise the directory, then read what was known of it."""
        site = self._site
        await self._writer.load()
        await site.threads.record(self._forget_ignored)
        identity = await self._footing.gain(is_durable=not self._writer.was_interrupted)
        await site.threads.record(self._settling.holds.load)
        await site.threads.bulk(partial(self._versions.adopt, site.ground))
        self._take(identity)
        if identity.reason:
            site.emit(EventName.PAUSED, None, {"reason": identity.reason})
            reason = "it counts as a new directory: nothing it lacks is a deletion"
            site.emit(EventName.RESUMED, None, {"reason": reason})

    def _take(self, identity: Identity) -> None:
        self._identity = identity
        self._root_identity = self._site.ground.root.identity
        # A first index is no news; what changed since the last look is.
        self._settling.conclusions.is_announcing = not identity.is_new

    async def _scan_always(self) -> None:
        # Whatever the index knows of a held name: its state may have been captured or not when the server died.
        self._settling.hint(self._settling.holds.names())
        try:
            await self._scanning.first()
            await self._settling.wait_looked()
            # What changed before the start nobody could have hinted at.
            self._settling.conclusions.found_by_scan = 0
        except RootLost:
            pass  # it was announced; the scan follows when the root is back
        self._has_looked.set()
        self._settling.conclusions.is_announcing = True
        await self._scanning.run()

    async def wait_looked(self) -> None:
        """Wait until everything was looked at once since the start: `files` and `size` are true from then on."""
        await self._has_looked.wait()

    async def _come_back(self, identity: Identity) -> None:
        self._take(identity)
        await self._watching.restart()
        self._settling.conclusions.is_announcing = True
        self._scanning.want()

    async def _leave(self) -> None:
        """Close the directory, at the end."""
        ground = self._site.leave("the server is stopping")
        if ground is not None:
            await self._site.threads.bulk(ground.close)
        await self._footing.release()

    def _lose(self, reason: str) -> None:
        self._footing.lose(reason)

    def _want_scan(self) -> None:
        self._scanning.want()

    async def set_ignore(self, patterns: Sequence[str]) -> None:
        """Ignore other names from now on. A newly ignored one is no deletion: it is forgotten without a word."""
        if self._site.rules.change(patterns):
            self._has_new_rules = True
            self._scanning.want()

    def ignored_among(self, rows: Iterable[tuple[RelPath, Observed]]) -> list[RelPath]:
        """Return the paths that are ignored, or lie in an ignored directory."""
        return self._site.rules.hidden_among(rows)

    def entries(self) -> Iterator[tuple[RelPath, Entry]]:
        """Yield every entry as last read; nothing may be awaited meanwhile."""
        return ((path, known.entry) for path, known in self._site.index.known.items())

    def _forget_ignored(self) -> None:
        """Drop what is known of ignored names: they are not ours to report, neither as there nor as gone."""
        index = self._site.index
        for path in self.ignored_among(self.entries()):
            index.discard(path)

    # Replica

    async def reports(self) -> Sequence[Report]:
        """Wait for something to report and return it, in order. One caller at a time."""
        await self._site.outbox.wait()
        await self._writer.save_first()
        return await self._site.outbox.take()

    async def snapshot(self, believed: Iterable[Row] = ()) -> AsyncIterator[Sequence[Row]]:
        """Scan, wait a while until what was found has settled, and yield every entry in batches. Raises RootLost."""
        await self._scanning.full_unless_fresh()
        await self._settling.wait_listed(None if self._has_new_rules else INVENTORY_SECONDS)
        await self._writer.save_first()
        rows = self._settling.conclusions.view()
        if self._has_new_rules:
            # Only now: a look that began under other rules could bring back what is ignored.
            self._has_new_rules = False
            self._forget_ignored()
            hidden = set(self.ignored_among(rows))
            rows = [row for row in rows if row[0] not in hidden]
        self._settling.is_reporting = True
        self._site.outbox.restart()
        self._settling.tell(self._settling.holds.report_again())
        for start in range(0, len(rows), _SNAPSHOT_ENTRIES):
            yield rows[start : start + _SNAPSHOT_ENTRIES]

    async def look(self, is_full: bool) -> Look:
        """Report whatever changed before this call, then return. Raises RootLost."""
        if is_full or not await self._scanning.is_watched():
            await self._scanning.full()
        await self._settling.wait_looked()
        if is_full:
            await self._settling.wait_confirmed()
        seen, reported = self._settling.conclusions, self._site.outbox.reported
        return Look(seen.unsettled.standings(), self.files, self.size, reported, seen.found_by_scan)

    async def fetch(self, refs: Sequence[ContentRef]) -> Sequence[bytes | None]:
        """Return small contents; None where it is not that content any more."""
        contents = await self._contents.fetch(refs)
        lacking = [ref for ref, content in zip(refs, contents, strict=True) if content is None]
        self._settling.distrust([ref.path for ref in lacking if isinstance(ref, ContentAt)])
        return contents

    def supply(self, ref: ContentRef, offset: int) -> AsyncIterator[ContentBytes]:
        """Yield the content from `offset` in chunks. Raises Refusal where it is not that content any more."""
        return self._contents.supply(ref, offset)

    async def stage(self, digest: Digest, size: int) -> int:
        """Prepare to receive: return how many bytes of this content are here already."""
        return await self._contents.stage(digest, size)

    async def put(
        self,
        digest: Digest,
        size: int,
        offset: int,
        pieces: AsyncIterator[Piece],
        arrived: Arrived = unheard,
        base: Digest | None = None,
    ) -> bool:
        """Receive content into staging; False where it did not match its digest. Raises DiskError and Refusal."""
        return await self._contents.put(digest, size, offset, pieces, arrived, base)

    async def apply(self, steps: Sequence[Step]) -> Sequence[Result]:
        """Do the steps in order, each guarded; one result each. Raises RootLost."""
        results = await self._applying.apply(steps)
        await self._writer.save_first()
        self._contents.manifests.placed()
        return results

    # Comparing

    async def manifest(self, digest: Digest) -> Manifest | None:
        """Return the chunks of a content that is here, or was; None where they cannot be told."""
        return await self._contents.manifests.made(digest)

    async def knows(self, digest: Digest) -> bool:
        """Return whether the chunks of this content are at hand, so that it can be a base."""
        return await self._contents.manifests.get(digest) is not None

    async def learn(self, digest: Digest, manifest: Manifest | None) -> None:
        """Take these for the chunks of a content; None: forget them."""
        if manifest is None:
            await self._contents.manifests.forget(digest)
        else:
            self._contents.manifests.learn(digest, manifest)

    def differences(self, ref: ContentRef, offset: int, base: Digest) -> AsyncIterator[Piece]:
        """Yield the content from `offset` as bytes and ranges of `base`. Raises Refusal as `supply`."""
        return self._contents.differences(ref, offset, base)

    # Holding

    async def hold(self, names: Sequence[HeldName]) -> None:
        """Capture these names from now on, beginning with the present state where it is not `seen`."""
        self._settling.tell(await self._settling.holds.hold(names))

    async def hold_only(self, names: Sequence[HeldName], after: RelPath | None, until: RelPath | None) -> None:
        """As `hold`, and stop capturing every other path after `after` up to `until`."""
        held = {name.path for name in names}
        leaving = [path for path in self._settling.holds.names() if path not in held and is_between(path, after, until)]
        if leaving:
            await self.unhold(leaving)
        await self.hold(names)

    async def unhold(self, paths: Sequence[RelPath]) -> None:
        """Stop capturing these names and drop what was captured; a later change is an ordinary one."""
        self._settling.tell(await self._settling.holds.unhold(paths))

    async def release(self, captures: Sequence[int]) -> None:
        """Drop these captures."""
        await self._settling.holds.release(captures)

    # Keeping

    async def history(self, path: RelPath) -> Sequence[Version]:
        """Return the kept versions of a path, newest first."""
        return await self._versions.history(path)

    async def restore(self, version: str) -> Version:
        """Bring a version back as an ordinary change. Raises Refusal where there is no such one."""
        return await self._restoring.restore(version)
