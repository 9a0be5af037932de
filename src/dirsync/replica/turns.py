"""Taking turns: one user at a time for each path or content.

Owns no meaning of the keys. A turn is held over awaits, because what it guards (an apply, a transfer) is one long
operation; whoever holds several takes them all at once, so nobody waits in a circle.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager


class Turns:
    """One user at a time for each of some keys; different keys do not wait for each other."""

    def __init__(self) -> None:
        self._taken: set[Hashable] = set()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, keys: Iterable[Hashable]) -> AsyncIterator[None]:
        """Hold these keys for the time of the block, once nobody else holds any of them."""
        wanted = set(keys)
        async with self._changed:
            await self._changed.wait_for(lambda: not wanted & self._taken)
            self._taken |= wanted
        try:
            yield
        finally:
            self._taken -= wanted
            async with self._changed:
                self._changed.notify_all()
