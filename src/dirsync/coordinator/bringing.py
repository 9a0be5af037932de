"""Brings one large content from a replica to the other: as what the target has of it and what it lacks, or whole.

Decides which way; what the pieces are is for the source to say, and whether they make the content for the target.
"""

from dataclasses import dataclass

from dirsync.core.chunks import DELTA_BYTES_MIN
from dirsync.core.entry import Digest, File, Observed
from dirsync.core.reports import ContentAt
from dirsync.errors import Refusal
from dirsync.replica.interface import Arrived, FullReplica
from dirsync.replica.streams import closing


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be brought, and what the target has at its path: most likely a state of it that is a little older."""

    ref: ContentAt
    present: Observed


async def bring(content: Content, source: FullReplica, target: FullReplica, have: int, arrived: Arrived) -> None:
    """Bring what the target lacks behind the `have` bytes that it has, and have it verified.

    Raises Refusal where the source does not hold it any more, or it arrived damaged; DiskError, Unreachable.
    """
    ref, entry = content.ref, content.ref.entry
    base = await _base_of(content, source, target)
    if base is not None:
        try:
            async with closing(source.differences(ref, have, base)) as pieces:
                if await target.put(entry.digest, entry.size, have, pieces, arrived, base):
                    return
            await source.learn(base, None)
        except Refusal:
            pass  # the base is not there any more, or the content is not: that is found out next
        have = await target.stage(entry.digest, entry.size)
    if have == entry.size:
        return
    async with closing(source.supply(ref, have)) as chunks:
        if not await target.put(entry.digest, entry.size, have, chunks, arrived):
            raise Refusal("the content arrived damaged; it is sent again")


async def _base_of(content: Content, source: FullReplica, target: FullReplica) -> Digest | None:
    """Return the content of the target that the source can compare with, once it knows its chunks."""
    present = content.present
    if not isinstance(present, File) or min(present.size, content.ref.entry.size) < DELTA_BYTES_MIN:
        return None
    if not await source.knows(present.digest):
        manifest = await target.manifest(present.digest)
        if manifest is None:
            return None
        await source.learn(present.digest, manifest)
    return present.digest
