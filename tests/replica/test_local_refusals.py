"""What a refusal found is told again by the look that follows: it may have been a moment's state only."""

import os

from blake3 import blake3

from dirsync.core.entry import Digest, File
from dirsync.core.plan import Action
from dirsync.core.reports import Refused, Step
from tests.replica.local_ground import local_ground, rel


def a_file(content: bytes, mtime_ns: int = 10**18) -> File:
    return File(Digest(blake3(content).digest()), len(content), mtime_ns, 0o644)


async def test_what_stands_after_a_refusal_is_reported_though_it_is_not_new(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("x", b"old")
        before = (await ground.snapshot())[rel("x")]
        away, back = ground.path("x"), os.path.join(os.fsencode(tmp_path), b"away")
        os.rename(away, back)
        (result,) = await ground.replica.apply([Step(Action(rel("x"), before, a_file(b"new")), b"new")])
        os.rename(back, away)
        assert result == Refused(None)
        assert [change.found for change in await ground.drain() if change.path == rel("x")][-1:] == [before]


async def test_both_names_of_a_refused_rename_are_reported(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("x", b"content")
        ground.write("y", b"in the way")
        seen = await ground.snapshot()
        source = seen[rel("x")]
        assert isinstance(source, File)
        step = Step(Action(rel("y"), None, source, renamed_from=rel("x"), expected_source=source))
        (result,) = await ground.replica.apply([step])
        assert isinstance(result, Refused)
        assert {change.path for change in await ground.drain()} == {rel("x"), rel("y")}
