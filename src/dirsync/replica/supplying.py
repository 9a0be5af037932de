"""Content out of a near replica and into its staging area.

Owns that what is supplied is still the content that was asked for: the file is the one that was read, and stays so
from chunk to chunk. Whoever receives verifies the digest all the same.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import assert_never

from dirsync.core.chunks import CHUNKS_MAX, ContentBytes, Manifest, Piece, Span, size_of_piece
from dirsync.core.entry import Digest, File
from dirsync.core.paths import display
from dirsync.core.reports import ContentAt, ContentOfCapture, ContentOfVersion, ContentRef
from dirsync.disk.probe import O_READ
from dirsync.disk.reading import read_whole
from dirsync.disk.receiving import Receiving
from dirsync.disk.root import Parents, fingerprint_of
from dirsync.disk.syscalls import give_back
from dirsync.errors import DiskError, Refusal
from dirsync.limits import CHUNK_BYTES, INLINE_BYTES_MAX
from dirsync.replica.capturing import HeldStates
from dirsync.replica.interface import Arrived, unheard
from dirsync.replica.keeping import Versions
from dirsync.replica.manifests import Manifests
from dirsync.replica.site import Site
from dirsync.replica.sources import Comparison, Reading, Source, Spans, Supply
from dirsync.replica.streams import ahead
from dirsync.replica.turns import Turns

_HOP_BYTES = 4 * CHUNK_BYTES
"""What is read or written per hop into a thread: enough that the hop costs nothing."""


class Contents:
    """The contents of one replica, by reference out and by digest in."""

    def __init__(self, site: Site, holds: HeldStates, versions: Versions) -> None:
        self._site = site
        self._holds = holds
        self._versions = versions
        self._turns = Turns()
        self.manifests = Manifests(site, self._find)

    async def fetch(self, refs: Sequence[ContentRef]) -> Sequence[bytes | None]:
        """Return small contents; None where it is not that content any more."""
        files = [await self._kept_file(ref) for ref in refs]

        def read_all() -> list[bytes | None]:
            with closing(Parents(self._site.ground.root)) as parents:
                return [self._read_small(parents, ref, file) for ref, file in zip(refs, files, strict=True)]

        return await self._site.threads.bulk(read_all)

    async def supply(self, ref: ContentRef, offset: int) -> AsyncIterator[ContentBytes]:
        """Yield the content from `offset` in chunks. Raises Refusal where it is not that content (any more)."""
        threads, size = self._site.threads, ref.entry.size
        source = Supply(partial(self._open, ref, await self._kept_file(ref)))
        reading = Reading(source, offset, size)
        try:
            with self.manifests.transferring():
                async with aclosing(ahead(partial(threads.bulk, partial(reading.next, _HOP_BYTES)))) as hops:
                    async for chunks in hops:
                        for chunk in chunks:
                            yield chunk
            self.manifests.wish(ref.entry.digest, size)
        finally:
            await threads.surely(source.close)

    async def differences(self, ref: ContentRef, offset: int, base: Digest) -> AsyncIterator[Piece]:
        """Yield the content from `offset` as pieces; all of it where the chunks of the base are not known here.

        Raises Refusal as `supply`.
        """
        threads, size = self._site.threads, ref.entry.size
        known = await self.manifests.get(base)
        if known is None or size // known.average > CHUNKS_MAX:
            async for chunk in self.supply(ref, offset):
                yield chunk
            return
        source = Supply(partial(self._open, ref, await self._kept_file(ref)))
        comparison = Comparison(source, offset, size, known.average, known)
        try:
            with self.manifests.transferring():
                async with aclosing(ahead(partial(threads.bulk, partial(comparison.next, _HOP_BYTES)))) as hops:
                    async for pieces in hops:
                        for piece in pieces:
                            yield piece
            if offset == 0:
                self.manifests.learn(ref.entry.digest, Manifest.of(known.average, bytes(comparison.rows)))
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
        self,
        digest: Digest,
        size: int,
        offset: int,
        pieces: AsyncIterator[Piece],
        arrived: Arrived = unheard,
        base: Digest | None = None,
    ) -> bool:
        """Receive content into staging. An interruption leaves what has arrived, to be resumed.

        Raises DiskError, and Refusal where the base is not here (any more).
        """
        async with self._turns.of([digest]):
            threads, staging = self._site.threads, self._site.ground.staging
            # The same content for another path may have arrived while this one waited for its turn.
            if (await threads.bulk(partial(staging.received, digest)))[1]:
                return True
            found = None if base is None else await self._find(base)
            if base is not None and found is None:
                raise Refusal("the content that it is told by is not here")
            receiving = staging.receive(digest, size, offset)
            spans = None if found is None else Spans(found[0])
            try:
                with self.manifests.transferring():
                    await self._receive(receiving, pieces, offset, arrived, spans)
                    is_good = await threads.finish(receiving.finish)
                if is_good:
                    self.manifests.wish(digest, size)
                return is_good
            finally:
                # Waits for a call that is under way: the next transfer of this content finds everything given back.
                await threads.surely(partial(_give_back, receiving, spans))

    async def _receive(
        self,
        receiving: Receiving,
        pieces: AsyncIterator[Piece],
        offset: int,
        arrived: Arrived,
        spans: Spans | None,
    ) -> None:
        gathered: list[Piece] = []
        size = 0
        try:
            async for piece in pieces:
                gathered.append(piece)
                size += size_of_piece(piece)
                offset += size_of_piece(piece)
                arrived(offset)
                if size >= _HOP_BYTES:
                    whole, gathered, size = gathered, [], 0
                    await self._site.threads.bulk(partial(_write, receiving, whole, spans))
        finally:  # what has arrived before an interruption is worth keeping
            if gathered:
                await self._site.threads.bulk(partial(_write, receiving, gathered, spans))

    async def _find(self, digest: Digest) -> tuple[Supply, int] | None:
        """Find a content in the directory or among the kept versions, and its size; it is opened when it is read."""
        ref = await self._own_place(digest)
        if ref is None:
            return None
        return Supply(partial(self._open, ref, await self._kept_file(ref))), ref.entry.size

    async def _kept_file(self, ref: ContentRef) -> str:
        """Return the kept file of a version; for other references nothing."""
        if not isinstance(ref, ContentOfVersion):
            return ""
        version, file = await self._versions.get(ref.version)
        if version.entry != ref.entry:
            raise Refusal(f"version {ref.version} holds another content")
        return file

    # In worker threads

    def _open(self, ref: ContentRef, kept_file: str) -> Source:
        """Open a content that is read in parts. Raises Refusal where it is not there any more."""
        known = self._site.index.get(ref.path) if isinstance(ref, ContentAt) else None
        with closing(Parents(self._site.ground.root)) as parents:
            fd = self._opened(parents, ref, kept_file)
        present = fingerprint_of(os.fstat(fd))
        if not isinstance(ref, ContentAt):
            return Source(fd, present)
        if known is not None and present.inode == known.fingerprint.inode:
            if present.size > known.fingerprint.size == ref.entry.size:
                return Source(fd, None)
            if (present.size, present.mtime_ns) == (ref.entry.size, known.fingerprint.mtime_ns):
                return Source(fd, present)
        os.close(fd)
        raise _another_content(ref)

    def _opened(self, parents: Parents, ref: ContentRef, kept_file: str) -> int:
        """Open what should hold a content. Raises Refusal where it is not there any more."""
        try:
            match ref:
                case ContentAt():
                    known = self._site.index.get(ref.path)
                    if known is None or not isinstance(known.entry, File) or known.entry.digest != ref.entry.digest:
                        raise _another_content(ref)
                    directory, name = parents.place_of(ref.path)
                    return os.open(name, O_READ, dir_fd=directory)
                case ContentOfCapture():
                    file = self._holds.content_file(ref.capture)
                    if file is None:
                        raise Refusal(f"update {ref.capture} was released")
                    return os.open(file, O_READ)
                case ContentOfVersion():
                    return self._site.kept.open(kept_file)
                case _:
                    assert_never(ref)
        except (OSError, DiskError) as error:
            raise Refusal(f"it cannot be read any more: {error}") from error

    def _read_small(self, parents: Parents, ref: ContentRef, kept_file: str) -> bytes | None:
        """Read a content in one go: whether it is the right one is told by its digest, not by the file's stat."""
        if ref.entry.size > INLINE_BYTES_MAX:
            return None
        try:
            fd = self._opened(parents, ref, kept_file)
        except Refusal:
            return None
        try:
            reading = read_whole(fd, ref.entry.size, INLINE_BYTES_MAX)
        except OSError:
            return None
        finally:
            give_back(fd)
        return reading.content if reading.digest == ref.entry.digest else None


def _another_content(ref: ContentAt) -> Refusal:
    return Refusal(f"{display(ref.path)} holds another content now")


def _write(receiving: Receiving, pieces: Sequence[Piece], spans: Spans | None) -> None:
    for piece in pieces:
        if not isinstance(piece, Span):
            receiving.write(piece)
            continue
        if spans is None:
            raise Refusal("a range was sent of a base that was not named")
        for part in spans.read(piece):
            receiving.write(part)


def _give_back(receiving: Receiving, spans: Spans | None) -> None:
    try:
        receiving.abandon()
    finally:
        if spans is not None:
            spans.close()


async def _nothing() -> AsyncIterator[bytes]:
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk
