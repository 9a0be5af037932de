import pytest

from dirsync.core.paths import parse_path
from dirsync.core.reports import Back, Change, Lost, Report, without_superseded

CHANGE = Change(parse_path(b"a"), None)
CAPTURED = Change(parse_path(b"b"), None, capture=7)
LOST = Lost("gone")
BACK = Back(is_new=True)


@pytest.mark.parametrize(
    ("reports", "left"),
    [
        ([], []),
        ([CHANGE, CAPTURED, LOST], [CHANGE, CAPTURED, LOST]),
        ([BACK], [BACK]),
        ([CHANGE, LOST, CAPTURED, BACK], [LOST, BACK]),
        ([LOST, BACK, CHANGE], [LOST, BACK]),
    ],
)
def test_changes_beside_the_word_that_the_root_is_back_are_left_out(reports: list[Report], left: list[Report]) -> None:
    assert list(without_superseded(reports)) == left
