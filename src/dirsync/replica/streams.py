"""Owns how sequences are cut into messages, and how a stream is read ahead and closed where it is left early."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], weigh: Callable[[T], int], weight_max: int) -> Iterator[tuple[T, ...]]:
    """Yield the items in order, in tuples of at most this weight; an item that is heavier goes alone."""
    batch: list[T] = []
    total = 0
    for item in items:
        weight = weigh(item)
        if batch and total + weight > weight_max:
            yield tuple(batch)
            batch, total = [], 0
        batch.append(item)
        total += weight
    if batch:
        yield tuple(batch)


@asynccontextmanager
async def closing(stream: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close the stream at the end, where it is a generator: what it holds is let go now, not when it is collected."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def ahead(read: Callable[[], Awaitable[list[T]]]) -> AsyncGenerator[list[T], None]:
    """Yield what `read` returns until that is empty; the next call is under way while the last result is used.

    Left early, it waits for nothing: a call under way is cancelled.
    """
    coming = asyncio.ensure_future(read())
    try:
        while items := await coming:
            coming = asyncio.ensure_future(read())
            yield items
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()  # of what was read for nothing nobody is told
