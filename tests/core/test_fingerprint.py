"""When a stat alone proves that nothing changed."""

import pytest

from dirsync.core.entry import Digest, File
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.limits import RACY_NANOSECONDS
from tests.support.trees import file

CHANGED_NS = 1_000_000_000_000
STAT = Fingerprint(inode=7, size=3, mtime_ns=CHANGED_NS, ctime_ns=CHANGED_NS, mode=0o100644)


def known(looked_ns: int, stat: Fingerprint = STAT) -> Known:
    return Known(file("abc", CHANGED_NS), stat, looked_ns)


def test_same_stat_well_after_the_change_is_proof() -> None:
    assert known(CHANGED_NS + RACY_NANOSECONDS + 1).is_proven_by(STAT)


@pytest.mark.parametrize("name", Fingerprint._fields)
def test_any_difference_is_no_proof(name: str) -> None:
    present = STAT._replace(**{name: getattr(STAT, name) + 1})
    assert not known(CHANGED_NS + 10 * RACY_NANOSECONDS).is_proven_by(present)


@pytest.mark.parametrize("age_ns", [RACY_NANOSECONDS, 0, -1, -RACY_NANOSECONDS * 10])
def test_looked_at_too_soon_is_no_proof(age_ns: int) -> None:
    """A look before the change, by the file's own times, is a clock that was set back: no proof either."""
    assert not known(CHANGED_NS + age_ns).is_proven_by(STAT)


@pytest.mark.parametrize("name", ["mtime_ns", "ctime_ns"])
def test_the_later_of_both_times_counts(name: str) -> None:
    stat = STAT._replace(**{name: CHANGED_NS + 5 * RACY_NANOSECONDS})
    assert not known(CHANGED_NS + 5 * RACY_NANOSECONDS, stat).is_proven_by(stat)
    assert known(CHANGED_NS + 7 * RACY_NANOSECONDS, stat).is_proven_by(stat)


def test_numbers_are_shared_with_the_entry_where_they_are_equal() -> None:
    entry = File(Digest(bytes(32)), 10**6, 10**18, 0o644)
    stat = Fingerprint(1, int("1000000"), int("1000000000000000000"), int("1000000000000000000"), int("33188"))
    shared = stat.sharing(entry)
    assert shared == stat
    assert shared.size is entry.size
    assert shared.mtime_ns is entry.mtime_ns
    assert shared.ctime_ns is entry.mtime_ns
    assert shared.mode is stat._replace(mode=int("33188")).sharing(entry).mode
    other = stat._replace(size=5 * 10**6, mtime_ns=10**18 + 1)
    assert other.sharing(entry) == other
