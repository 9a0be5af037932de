"""Manifests: what can be one, and where its chunks begin."""

import pytest

from dirsync.core.chunks import AVERAGE_MAX, AVERAGE_MIN, CHUNKS_MAX, DIGEST_BYTES, Base, Manifest, average_of, row_of
from dirsync.errors import Refusal

ROW = row_of(5000, bytes(DIGEST_BYTES))
OTHER = row_of(7000, bytes([1]) * DIGEST_BYTES)


def test_chunks_begin_where_those_before_end():
    last = row_of(1, bytes([2]) * DIGEST_BYTES)
    base = Base(Manifest.of(AVERAGE_MIN, OTHER + ROW + last))
    assert [(base.offsets[base.numbers[row]], base.lengths[base.numbers[row]]) for row in (OTHER, ROW, last)] == [
        (0, 7000),
        (7000, 5000),
        (12_000, 1),
    ]


@pytest.mark.parametrize(
    ("average", "rows"),
    [
        (AVERAGE_MIN, b""),
        (AVERAGE_MIN, ROW[:-1]),
        (AVERAGE_MIN, ROW * (CHUNKS_MAX + 1)),
        (0, ROW),
        (AVERAGE_MIN // 2, ROW),
        (AVERAGE_MIN + 1, ROW),
        (2 * AVERAGE_MAX, ROW),
    ],
    ids=["empty", "cut short", "too long", "no average", "too fine", "no power of two", "too coarse"],
)
def test_what_cannot_be_a_manifest_is_refused(average, rows):
    with pytest.raises(Refusal):
        Manifest.of(average, rows)


@pytest.mark.parametrize("size", [0, 2**28, 2**30, 2**34, 2**38])
def test_the_chunks_of_any_size_fit_into_a_manifest(size):
    assert AVERAGE_MIN <= average_of(size) <= AVERAGE_MAX
    assert size // average_of(size) <= CHUNKS_MAX // 2
