"""The contract of a replica: one copy of the tree, near or far. Local and remote keep it alike.

The coordinator sees nothing else of a replica, so it does not know which one is remote. Four protocols, because four
kinds of work: keeping in sync, holding locked names, bringing back kept versions, comparing large contents.
All paths are RelPath, so already checked. What fails for one path is a value; an exception means that the replica
as a whole cannot answer: Unreachable, or RootLost.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from dirsync.core.chunks import ContentBytes, Manifest, Piece
from dirsync.core.entry import Digest, Role
from dirsync.core.inventory import Row
from dirsync.core.paths import RelPath
from dirsync.core.reports import ContentRef, HeldName, Look, Report, Result, Step
from dirsync.core.versions import Version

Arrived = Callable[[int], None]


def unheard(_: int) -> None:
    """Nobody asks how far a transfer has come."""


class Replica(Protocol):
    """One copy of the tree."""

    @property
    def role(self) -> Role:
        """Which one."""
        ...

    async def reports(self) -> Sequence[Report]:
        """Wait for something to report and return it, in order. One caller at a time."""
        ...

    def snapshot(self, believed: Iterable[Row] = ()) -> AsyncIterator[Sequence[Row]]:
        """Scan, wait a while until what was found has settled, and yield every entry in batches.

        `believed` is what the caller takes to stand here; it changes nothing but the cost where it is nearly true.
        A path that has not settled or was not read by then is left out: the caller must not take its absence for a
        deletion, and does not, because it is in the last batch as a Problem. A report of it follows.
        """
        ...

    async def look(self, is_full: bool) -> Look:
        """Report whatever changed before this call, then return.

        `is_full` compares the whole tree, not only hints, and reads what was only recognised by its stat.
        """
        ...

    async def fetch(self, refs: Sequence[ContentRef]) -> Sequence[bytes | None]:
        """Return small contents (each at most INLINE_BYTES_MAX); None where it is not that content any more."""
        ...

    def supply(self, ref: ContentRef, offset: int) -> AsyncIterator[ContentBytes]:
        """Yield the content from `offset` in chunks. Raises Refusal where it is not that content any more."""
        ...

    async def stage(self, digest: Digest, size: int) -> int:
        """Prepare to receive: return how many bytes of this content are here already; `size` means all."""
        ...

    async def put(
        self,
        digest: Digest,
        size: int,
        offset: int,
        pieces: AsyncIterator[Piece],
        arrived: Arrived = unheard,
        base: Digest | None = None,
    ) -> bool:
        """Receive content into staging, durable and verified; False where it did not match its digest.

        Spans among the pieces are ranges of `base`. `arrived` is told how many bytes of the content this replica has
        by then. Raises Refusal where `base` is not here (any more), or does not have such a range.
        """
        ...

    async def apply(self, steps: Sequence[Step]) -> Sequence[Result]:
        """Do the steps in order, each guarded; one result each. What is replaced or deleted is kept first.

        Contents already here (staged, in the tree, kept) are found by digest.
        """
        ...


class Holding(Protocol):
    """A replica that can capture every settled state of held names."""

    async def hold(self, names: Sequence[HeldName]) -> None:
        """Capture these names from now on, beginning with the present state where it is not `seen`."""
        ...

    async def hold_only(self, names: Sequence[HeldName], after: RelPath | None, until: RelPath | None) -> None:
        """As `hold`, and have no other path held that comes after `after` (None: the first) up to `until` (the last).

        So a list of any length is told in parts, each of its own moment, and a lock whose end was missed ends.
        """
        ...

    async def unhold(self, paths: Sequence[RelPath]) -> None:
        """Stop capturing these names and drop what was captured; a later change is an ordinary one.

        Where something was dropped, its report counts for nothing any more: what stands there is reported anew.
        """
        ...

    async def release(self, captures: Sequence[int]) -> None:
        """Drop these captures: they are durable elsewhere, or not wanted."""
        ...


class Keeping(Protocol):
    """A replica that keeps versions of what was replaced or deleted."""

    async def history(self, path: RelPath) -> Sequence[Version]:
        """Return the kept versions of a path, newest first."""
        ...

    async def restore(self, version: str) -> Version:
        """Bring a version back into this replica as an ordinary change. Raises Refusal where there is no such one."""
        ...


class Comparing(Protocol):
    """A replica that can tell a large content by what it has of another one, its base."""

    async def manifest(self, digest: Digest) -> Manifest | None:
        """Return the chunks of a content that is here, or was; None where they cannot be told."""
        ...

    async def knows(self, digest: Digest) -> bool:
        """Return whether the chunks of this content are at hand, so that it can be a base."""
        ...

    async def learn(self, digest: Digest, manifest: Manifest | None) -> None:
        """Take these for the chunks of a content; None: forget them."""
        ...

    def differences(self, ref: ContentRef, offset: int, base: Digest) -> AsyncIterator[Piece]:
        """Yield the content from `offset` as bytes and ranges of `base`. Raises as `supply`."""
        ...


class FullReplica(Replica, Holding, Keeping, Comparing, Protocol):
    """All four, as both real replicas are."""
