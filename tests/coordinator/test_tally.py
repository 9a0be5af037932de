"""Bytes that crossed are counted until somebody asks, within bounds."""

from dirsync.coordinator.tally import Tally


def test_counts_add_up_and_are_taken_once():
    tally = Tally()
    tally.add(b"x", 3)
    tally.add(b"y", 1)
    tally.add(b"x", 4)
    assert (tally.take(b"x"), tally.take(b"x"), tally.take(b"y")) == (7, 0, 1)


def test_the_oldest_counts_go_first():
    tally = Tally()
    for number in range(10_001):
        tally.add(b"%d" % number, 1)
    assert (tally.take(b"0"), tally.take(b"1"), tally.take(b"10000")) == (0, 1, 1)
