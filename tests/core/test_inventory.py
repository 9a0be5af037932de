"""Inventories compared by digests: whatever differs is found, and where nothing differs nothing is named."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Digest, File, Observed, Problem, Symlink, Untracked
from dirsync.core.inventory import BUCKETS, DIGEST_BYTES, digests_of, into_buckets
from dirsync.core.paths import RelPath
from tests.support.trees import at, directory, file, link
from tests.wire.values import paths, values_of

founds = values_of(Observed)
trees = st.dictionaries(paths.map(RelPath), founds, max_size=30)


def digests(rows):
    return digests_of(into_buckets(rows))


def differing(one, two):
    return {number for number, (a, b) in enumerate(zip(digests(one), digests(two), strict=True)) if a != b}


@given(trees, st.randoms(use_true_random=False))
def test_equal_inventories_have_equal_digests_in_any_order(tree, random):
    rows = list(tree.items())
    shuffled = random.sample(rows, len(rows))
    assert digests(rows) == digests(shuffled)
    assert [len(digest) for digest in digests(rows)] == [DIGEST_BYTES] * BUCKETS


@given(trees, trees)
def test_exactly_the_buckets_of_what_differs_differ(tree, changes):
    other = tree | changes
    changed = {path for path, found in changes.items() if path not in tree or tree[path] != found}
    assert differing(tree.items(), other.items()) == {zlib.crc32(path) % BUCKETS for path in changed}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (file("x"), file("y")),
        (file("x", 1), file("x", 2)),
        (file("x", 1, 0o644), file("x", 1, 0o600)),
        (file("x", -1), file("x", 1)),
        (directory(0o755), directory(0o700)),
        (directory(0o755), link("493")),
        (link("a"), link("b")),
        (link("a"), Untracked("a")),
        (Untracked("a"), Problem("a")),
        (Problem("a"), Problem("a ")),
        (None, directory(0)),
        (File(Digest(b"\0" * 32), 1, 23, 4), File(Digest(b"\0" * 32), 12, 3, 4)),
    ],
)
def test_any_difference_that_counts_is_seen(one, two):
    assert one != two
    assert digests([(at("x"), one)]) != digests([(at("x"), two)])


def test_what_does_not_count_makes_no_difference():
    assert Symlink(b"a", 1) == Symlink(b"a", 2)
    assert digests([(at("x"), Symlink(b"a", 1))]) == digests([(at("x"), Symlink(b"a", 2))])
