from itertools import permutations

import pytest

from dirsync.coordinator.report_ages import ReportAges

PATH, OTHER = b"f", b"other"


@pytest.mark.parametrize("reports", range(4))
@pytest.mark.parametrize("applied_after", range(4))
def test_whatever_order_they_come_in_the_latest_state_is_known_at_the_end(reports, applied_after):
    """A path is reported some times, and applied to once in between; the result may come at any moment."""
    serials = list(range(1, reports + 1))
    for comes_after in range(len(serials) + 1):
        ages = ReportAges()
        known = None
        with ages.applying([PATH]):
            for serial in serials[:comes_after]:
                if ages.is_news(PATH, serial):
                    known = serial
            if ages.is_latest(PATH, applied_after):
                known = "applied"
        for serial in serials[comes_after:]:
            if ages.is_news(PATH, serial):
                known = serial
        later = [serial for serial in serials if serial > applied_after]
        assert known == (later[-1] if later else "applied")


def test_paths_do_not_mix():
    ages = ReportAges()
    assert ages.is_latest(PATH, 7)
    assert ages.is_news(OTHER, 6)
    assert not ages.is_news(PATH, 5)


def test_what_no_older_report_can_follow_is_not_remembered():
    ages = ReportAges()
    for number, path in enumerate(permutations(b"abcd")):
        assert ages.is_latest(bytes(path), number)
    assert ages.is_news(OTHER, 24)
    assert ages.is_news(b"abcd", 25)
    assert not ages._applied
