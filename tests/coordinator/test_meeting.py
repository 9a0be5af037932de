"""Whatever changed while a server was down, or while they were apart, is found when they meet again.

Over real directories and the real messages: the inventories are compared by digests, and only differences are sent.
"""

import pytest

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from tests.support.near_pair import NearPair

A, B = Role.A, Role.B
NAMES = [RelPath(b"d%d/f%d" % (number % 7, number)) for number in range(200)]


def standing(content, seconds=1):
    return content, seconds * 10**9, 0o644


def tree(pair, role):
    root = pair.root(role)
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
async def pair(tmp_path):
    """Two directories that are copies of each other, and have agreed."""
    made = NearPair(tmp_path)
    for role in Role:
        for directory in {name.partition(b"/")[0] for name in NAMES}:
            (made.root(role) / directory.decode()).mkdir()
        for name in NAMES:
            made.become(role, name, standing(name))
    await made.start(*Role)
    await made.join()
    await made.settle()
    yield made
    await made.end(*list(made.running))


async def test_two_copies_agree_without_applying_anything(pair):
    assert tree(pair, A) == tree(pair, B)
    assert not pair.said(EventName.SYNCED)
    assert pair.coordinator.pair.files == len(NAMES)


@pytest.mark.parametrize("down", [(A, B), (A,), (B,), ()])
async def test_what_changed_meanwhile_is_found(pair, down):
    if down:
        await pair.end(*down)
    else:
        await pair.part()
    pair.become(A, NAMES[0], standing(b"edited at a", 5))
    pair.become(B, NAMES[1], standing(b"edited at b", 5))
    pair.become(B, NAMES[2], standing(NAMES[2], 6))  # touched
    pair.become(A, NAMES[3], None)
    pair.become(B, NAMES[4], None)
    pair.become(B, RelPath(b"d1/new"), standing(b"new", 5))
    pair.become(A, NAMES[5], standing(b"the older edit", 7))
    pair.become(B, NAMES[5], standing(b"the newer edit", 8))
    await pair.start(*down)
    await pair.join()
    await pair.settle()
    there = tree(pair, A)
    assert there == tree(pair, B)
    assert there["d0/f0"] == (b"edited at a", 5 * 10**9)
    assert there["d1/f1"] == (b"edited at b", 5 * 10**9)
    assert there["d2/f2"] == (NAMES[2], 6 * 10**9)
    assert not {"d3/f3", "d4/f4"} & set(there)
    assert there["d1/new"] == (b"new", 5 * 10**9)
    assert there["d5/f5"] == (b"the newer edit", 8 * 10**9)
    assert len(there) == len(NAMES) - 1
