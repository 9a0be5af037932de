"""Where contents are cut into chunks: at places that their bytes name, so that an insertion moves the others along.

FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking", 2020), as `pyfastcdc` does it.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from blake3 import blake3
from pyfastcdc import FastCDC

from dirsync.core.chunks import DIGEST_BYTES, Base, Manifest, row_of


class Run(NamedTuple):
    """Some chunks that follow each other, and where the base has them; one chunk where it does not."""

    rows: bytes
    content: memoryview
    place: int | None


class Cutter:
    """Cuts one content, given in order.

    Behind a chunk that the base has most likely comes the one that the base has behind it: so that is compared first,
    and only what differs is searched for the place to cut. Where it is the same, so are the cuts, because a chunk ends
    where its own bytes say so.
    """

    def __init__(self, average: int, base: Manifest | None = None) -> None:
        self._cut = FastCDC(avg_size=average).cut_buf
        self._manifest = base
        self._next: int | None = 0

    def runs(self, content: memoryview, *, is_end: bool) -> Iterator[Run]:
        """Yield the chunks of what comes next, in order.

        Before the end the last one is not certain: what no run covers is to be given again, before what follows it.
        """
        at = 0
        while at < len(content):
            if followed := self._followed(content[at:]):
                at += len(followed.content)
                yield followed
            for chunk in self._cut(content[at:]) if at < len(content) else ():
                end = at + chunk.length
                if end == len(content) and not is_end:
                    return
                run = self._looked_up(content[at:end])
                at = end
                yield run
                if run.place is not None:
                    break

    def _followed(self, content: memoryview) -> Run | None:
        """Return what the content has in common with the next chunks of the base."""
        base, first = self._base, self._next
        if base is None or first is None:
            return None
        at, number = 0, first
        # The last chunk ends where the base does: its bytes do not say so.
        while number < len(base.rows) - 1 and (end := at + base.lengths[number]) <= len(content):
            if _row(content[at:end]) != base.rows[number]:
                break
            at, number = end, number + 1
        self._next = number
        return Run(b"".join(base.rows[first:number]), content[:at], base.offsets[first]) if at else None

    def _looked_up(self, chunk: memoryview) -> Run:
        row = _row(chunk)
        number = None if self._base is None else self._base.numbers.get(row)
        if self._base is None or number is None:
            self._next = None
            return Run(row, chunk, None)
        self._next = number + 1
        return Run(row, chunk, self._base.offsets[number])

    @cached_property
    def _base(self) -> Base | None:
        return None if self._manifest is None else Base(self._manifest)


def _row(chunk: memoryview) -> bytes:
    return row_of(len(chunk), blake3(chunk).digest(length=DIGEST_BYTES))
