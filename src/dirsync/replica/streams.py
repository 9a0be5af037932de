"""Owns how sequences are cut into messages, and how a stream that is left early is closed."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
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
