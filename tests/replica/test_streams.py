"""Reading ahead: in order, one call at a time, and nothing left running where it is left early."""

import asyncio
from contextlib import aclosing

import pytest

from dirsync.errors import Refusal
from dirsync.replica.streams import ahead


class Reader:
    """What is read ahead. `calls` counts the calls that began, `running` those that have not ended."""

    def __init__(self, *results):
        self._results = list(results)
        self.calls = 0
        self.running = 0

    async def read(self):
        assert self.running == 0
        self.calls += 1
        self.running += 1
        try:
            await asyncio.sleep(0)
            result = self._results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            self.running -= 1


async def test_the_next_call_is_under_way_while_a_result_is_used():
    reader = Reader([1], [2, 3], [])
    seen = []
    async for items in ahead(reader.read):
        await asyncio.sleep(0)
        seen.append((items, reader.calls))
    assert seen == [([1], 2), ([2, 3], 3)]


async def test_an_error_comes_after_what_was_read_before():
    stream = ahead(Reader([1], Refusal("changed")).read)
    assert await anext(stream) == [1]
    with pytest.raises(Refusal):
        await anext(stream)


@pytest.mark.parametrize("following", [[2], Refusal("changed")], ids=["more", "an error"])
async def test_what_was_read_for_nothing_is_let_go(following):
    reader = Reader([1], following)
    async with aclosing(ahead(reader.read)) as stream:
        assert await anext(stream) == [1]
        await asyncio.sleep(0)
    assert reader.running == 0
