"""Locked names over real directories: directories that go above them, long queues, and many at once."""

import asyncio
import shutil

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from tests.support.near_pair import NearPair

A, B = Role.A, Role.B
F = RelPath(b"d/e/f")


def standing(content, seconds=1):
    return content, seconds * 10**9, 0o644


@pytest.fixture
async def pair(tmp_path):
    """Two servers in sync on a locked file deep down, with others around it."""
    made = NearPair(tmp_path)
    (made.root(A) / "d" / "e").mkdir(parents=True)
    for path in (F, RelPath(b"d/e/g"), RelPath(b"d/h"), RelPath(b"stays")):
        made.become(A, path, standing(b"original"))
    await made.start(*Role)
    await made.join()
    await made.settle()
    await made.lock(F)
    yield made
    await made.end(*list(made.running))


def names(pair, role):
    root = pair.root(role)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


async def test_a_deletes_the_directory_above_while_updates_wait(pair):
    pair.become(B, F, standing(b"from b", 2))
    await pair.settle()
    shutil.rmtree(pair.root(A) / "d")
    await pair.settle()
    assert [(role, found and found[0]) for role, found in pair.rows(F)] == [(B, b"from b"), (A, None)]
    assert pair.standing(B, F)[0] == b"from b", "B's copy is left alone"
    assert not (pair.root(B) / "d" / "h").exists(), "the rest of the directory goes on"
    pair.become(B, F, standing(b"from b again", 3))
    await pair.settle()
    assert await pair.unlock(F) == 3
    await pair.settle()
    assert pair.standing(A, F)[0] == pair.standing(B, F)[0] == b"from b again"
    assert names(pair, A) == names(pair, B) == ["d", "d/e", "d/e/f", "stays"]
    assert len(await pair.kept(A, F)) == 1, "the update that the deletion undid"


async def test_a_deletes_the_directory_above_and_its_deletion_is_the_last_word(pair):
    pair.become(B, F, standing(b"from b", 2))
    await pair.settle()
    shutil.rmtree(pair.root(A) / "d")
    await pair.settle()
    assert await pair.unlock(F) == 2
    await pair.settle()
    assert names(pair, A) == names(pair, B)
    assert not (pair.root(B) / "d" / "e" / "f").exists()


async def test_a_replaces_the_directory_above_by_a_file(pair):
    pair.become(B, F, standing(b"from b", 2))
    await pair.settle()
    shutil.rmtree(pair.root(A) / "d")
    (pair.root(A) / "d").write_text("a file now")
    await pair.settle()
    with pytest.raises(Refusal, match="not a directory stands in its path; 2 updates stay held"):
        await pair.unlock(F)
    await pair.settle()
    assert pair.standing(B, F)[0] == b"from b"
    (pair.root(A) / "d").unlink()
    assert await pair.unlock(F) == 2
    await pair.settle()
    assert names(pair, A) == names(pair, B)


async def test_b_renames_the_locked_file_over_another_locked_one(pair):
    other = RelPath(b"d/h")
    await pair.lock(other)
    (pair.root(B) / "d" / "e" / "f").rename(pair.root(B) / "d" / "h")
    await pair.settle()
    assert pair.rows(F) == [(B, None)]
    assert pair.rows(other) == []  # the same content and time as before
    pair.become(B, F, standing(b"new", 5))
    await pair.settle()
    (pair.root(B) / "d" / "e" / "f").rename(pair.root(B) / "d" / "h")
    await pair.settle()
    assert [found and found[0] for _, found in pair.rows(F)] == [None, b"new", None]
    assert [found and found[0] for _, found in pair.rows(other)] == [b"new"]
    assert pair.standing(A, F)[0] == pair.standing(A, other)[0] == b"original"
    assert (await pair.unlock(F), await pair.unlock(other)) == (3, 1)
    await pair.settle()
    assert names(pair, A) == names(pair, B) == ["d", "d/e", "d/e/g", "d/h", "stays"]


@pytest.mark.faults
async def test_a_hundred_are_unlocked_at_once_under_traffic(pair):
    paths = [RelPath(b"n%02d" % number) for number in range(100)]
    for path in paths:
        pair.become(A, path, standing(b"original"))
    await pair.settle()
    for path in paths:
        await pair.lock(path)
    for number in range(3):
        for path in paths:
            pair.become(B, path, standing(b"%s %d" % (path, number), 10 + number))
        await pair.settle()
    is_over = asyncio.Event()

    async def traffic():
        number = 0
        while not is_over.is_set():
            number += 1
            pair.become(B, RelPath(b"stays"), standing(b"traffic %d" % number, 100 + number))
            await pair.until(lambda expected=b"traffic %d" % number: pair.standing(A, RelPath(b"stays"))[0] == expected)
        return number

    passing = asyncio.create_task(traffic())
    unlocking = [asyncio.create_task(pair.unlock(path)) for path in paths]
    assert await asyncio.gather(*unlocking) == [3] * 100
    is_over.set()
    assert await passing > 1, "other files went on meanwhile"
    await pair.settle()
    for path in paths:
        remaining = [fields["remaining"] for fields in pair.said(EventName.APPLIED, path)]
        assert remaining == [2, 1, 0]
        assert pair.standing(A, path)[0] == pair.standing(B, path)[0] == b"%s 2" % path
