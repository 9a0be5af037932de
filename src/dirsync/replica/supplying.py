"""Content out of a near replica and into its staging area.

Owns that what is supplied is still the content that was asked for: the file is the one that was read, and stays so
from chunk to chunk. Whoever receives verifies the digest all the same.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from blake3 import blake3

from dirsync.core.entry import Digest, File
from dirsync.core.fingerprint import Fingerprint
from dirsync.core.paths import display
from dirsync.core.reports import ContentAt, ContentOfCapture, ContentOfVersion, ContentRef
from dirsync.disk.probe import O_READ
from dirsync.disk.receiving import Receiving
from dirsync.disk.root import fingerprint_of
from dirsync.errors import DiskError, Refusal
from dirsync.limits import CHUNK_BYTES, INLINE_BYTES_MAX
from dirsync.replica.capturing import HeldStates
from dirsync.replica.interface import Arrived, unheard
from dirsync.replica.keeping import Versions
from dirsync.replica.site import Site
from dirsync.replica.turns import Turns

_HOP_BYTES = 4 * CHUNK_BYTES
"""What is read or written per hop into a thread: enough that the hop costs nothing."""


@dataclass(slots=True)
class _Source:
    """An open content and the stat it must keep. One that only grows is sent as long as it was: no stat to keep."""

    fd: int
    stat: Fingerprint | None

    def read(self, offset: int, size: int) -> list[bytes]:
        """Return chunks from `offset`, none at the end. Raises Refusal where it is not that content any more."""
        try:
            chunks = []
            while size > 0 and (chunk := os.pread(self.fd, min(size, CHUNK_BYTES), offset)):
                chunks.append(chunk)
                offset += len(chunk)
                size -= len(chunk)
            after = fingerprint_of(os.fstat(self.fd))
        except OSError as error:
            raise Refusal(f"it cannot be read: {error.strerror}") from error
        if self.stat is not None and (after.size, after.mtime_ns) != (self.stat.size, self.stat.mtime_ns):
            raise Refusal("it changed while it was sent")
        return chunks

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class _Supply:
    """A content on its way out, opened by the first read. A call waits for the one before it, in whatever threads.

    So a descriptor is given back also where nobody waits any more for the read that opens it, and never under a read.
    """

    def __init__(self, open_source: Callable[[], _Source]) -> None:
        self._open = open_source
        self._turn = threading.Lock()
        self._source: _Source | None = None
        self._is_over = False

    def read(self, offset: int, size: int) -> list[bytes]:
        """Return chunks as a source does. Raises Refusal."""
        with self._turn:
            if self._is_over:
                raise Refusal("this transfer has ended")
            if self._source is None:
                self._source = self._open()
            return self._source.read(offset, size)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._turn:
            self._is_over = True
            if self._source is not None:
                self._source.close()


class Contents:
    """The contents of one replica, by reference out and by digest in."""

    def __init__(self, site: Site, holds: HeldStates, versions: Versions) -> None:
        self._site = site
        self._holds = holds
        self._versions = versions
        self._turns = Turns()

    async def fetch(self, refs: Sequence[ContentRef]) -> Sequence[bytes | None]:
        """Return small contents; None where it is not that content any more."""
        files = [await self._kept_file(ref) for ref in refs]

        def read_all() -> list[bytes | None]:
            return [self._read_small(ref, file) for ref, file in zip(refs, files, strict=True)]

        return await self._site.threads.bulk(read_all)

    async def supply(self, ref: ContentRef, offset: int) -> AsyncIterator[bytes]:
        """Yield the content from `offset` in chunks. Raises Refusal where it is not that content (any more)."""
        threads, size = self._site.threads, ref.entry.size
        source = _Supply(partial(self._open, ref, await self._kept_file(ref)))
        try:
            while offset < size:
                chunks = await threads.bulk(partial(source.read, offset, min(_HOP_BYTES, size - offset)))
                if not chunks:
                    raise Refusal("it is shorter than it was")
                for chunk in chunks:
                    yield chunk
                    offset += len(chunk)
        finally:
            await threads.surely(source.close)

    async def stage(self, digest: Digest, size: int) -> int:
        """Return how many bytes of this content are in staging already; what stands elsewhere here is copied there."""
        staging = self._site.ground.staging
        have, is_whole = await self._site.threads.bulk(partial(staging.received, digest))
        if is_whole:
            return size
        if have >= size:
            # Every byte arrived, but the transfer was not finished: that is left to do, or it is damaged.
            return size if await self.put(digest, size, size, _nothing()) else 0
        return size if await self._copy_own(digest, size, have) else have

    async def _copy_own(self, digest: Digest, size: int, offset: int) -> bool:
        """Receive a content from ourselves; False where it is not here, or not any more."""
        ref = await self._own_place(digest)
        if ref is None or ref.entry.size != size:
            return False
        try:
            return await self.put(digest, size, offset, self.supply(ref, offset))
        except Refusal:
            return False

    async def _own_place(self, digest: Digest) -> ContentAt | ContentOfVersion | None:
        place = self._site.index.place_of(digest)
        if place is not None and isinstance(place[1].entry, File):
            return ContentAt(place[0], place[1].entry)
        kept = await self._site.threads.record(partial(self._versions.with_content, digest))
        if kept is None or not isinstance(kept.entry, File):
            return None
        return ContentOfVersion(kept.id, kept.entry)

    async def put(
        self, digest: Digest, size: int, offset: int, chunks: AsyncIterator[bytes], arrived: Arrived = unheard
    ) -> bool:
        """Receive content into staging. An interruption leaves what has arrived, to be resumed. Raises DiskError."""
        async with self._turns.of([digest]):
            threads, staging = self._site.threads, self._site.ground.staging
            # The same content for another path may have arrived while this one waited for its turn.
            if (await threads.bulk(partial(staging.received, digest)))[1]:
                return True
            receiving = staging.receive(digest, size, offset)
            try:
                await self._receive(receiving, chunks, offset, arrived)
                return await threads.bulk(receiving.finish)
            finally:
                # Waits for a call that is under way: the next transfer of this content finds everything given back.
                await threads.surely(receiving.abandon)

    async def _receive(self, receiving: Receiving, chunks: AsyncIterator[bytes], offset: int, arrived: Arrived) -> None:
        gathered: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                gathered.append(chunk)
                size += len(chunk)
                offset += len(chunk)
                arrived(offset)
                if size >= _HOP_BYTES:
                    whole, gathered, size = b"".join(gathered), [], 0
                    await self._site.threads.bulk(partial(receiving.write, whole))
        finally:  # what has arrived before an interruption is worth keeping
            if gathered:
                await self._site.threads.bulk(partial(receiving.write, b"".join(gathered)))

    async def _kept_file(self, ref: ContentRef) -> str:
        """Return the kept file of a version; for other references nothing."""
        if not isinstance(ref, ContentOfVersion):
            return ""
        version, file = await self._versions.get(ref.version)
        if version.entry != ref.entry:
            raise Refusal(f"version {ref.version} holds another content")
        return file

    # In worker threads

    def _open(self, ref: ContentRef, kept_file: str) -> _Source:
        """Open a content. Raises Refusal where it is not there any more."""
        try:
            match ref:
                case ContentAt():
                    return self._open_at(ref)
                case ContentOfCapture():
                    file = self._holds.content_file(ref.capture)
                    if file is None:
                        raise Refusal(f"update {ref.capture} was released")
                    fd = os.open(file, O_READ)
                case ContentOfVersion():
                    fd = self._site.kept.open(kept_file)
                case _:
                    assert_never(ref)
        except (OSError, DiskError) as error:
            raise Refusal(f"it cannot be read any more: {error}") from error
        return _Source(fd, fingerprint_of(os.fstat(fd)))

    def _open_at(self, ref: ContentAt) -> _Source:
        known = self._site.index.get(ref.path)
        if known is None or not isinstance(known.entry, File) or known.entry.digest != ref.entry.digest:
            raise Refusal(f"{display(ref.path)} holds another content now")
        with self._site.ground.root.parent_of(ref.path) as (directory, name):
            fd = os.open(name, O_READ, dir_fd=directory)
        present, expected = fingerprint_of(os.fstat(fd)), known.fingerprint
        if present.inode == expected.inode and present.size > expected.size == ref.entry.size:
            return _Source(fd, None)
        if (present.inode, present.size, present.mtime_ns) != (expected.inode, ref.entry.size, expected.mtime_ns):
            os.close(fd)
            raise Refusal(f"{display(ref.path)} holds another content now")
        return _Source(fd, present)

    def _read_small(self, ref: ContentRef, kept_file: str) -> bytes | None:
        if ref.entry.size > INLINE_BYTES_MAX:
            return None
        try:
            source = self._open(ref, kept_file)
        except Refusal:
            return None
        try:
            content = b"".join(source.read(0, ref.entry.size))
        except Refusal:
            return None
        finally:
            source.close()
        return content if blake3(content).digest() == ref.entry.digest else None


async def _nothing() -> AsyncIterator[bytes]:
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk
