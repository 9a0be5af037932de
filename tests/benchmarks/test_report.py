"""The tables say what was measured, and of whom we are ahead."""

from benchmarks.report import aligned, markdown, show_number, table
from benchmarks.results import Figure, Results

BURST = Figure("burst", "a burst", "s")
CHANGE = Figure("change", "a change", "ms")


def measured() -> Results:
    results = Results(places={"here": "ext4"})
    for value in (1.0, 2.0, 4.0):
        results.add("here", BURST, "dirsync", [value])
    for value in (1.5, 3.0):
        results.add("here", BURST, "rsync", [value])
    results.add("here", CHANGE, "dirsync", [3.0, 4.0, 5.0])
    return results


def test_a_table_has_median_spread_and_ratio_of_every_tool_that_was_measured() -> None:
    assert table(measured(), "here") == [
        ["", "unit", "dirsync", "rsync", "runs"],
        ["a burst", "s", "2 [1..4]", "2.25 [1.5..3] 1.12x", "2-3"],
        ["a change, p50 / p95 / p99", "ms", "4 / 5 / 5", "", "1"],
    ]


def test_another_place_has_a_table_of_its_own() -> None:
    assert table(measured(), "there") == [["", "unit", "runs"]]


def test_numbers_are_written_with_three_digits() -> None:
    shown = [show_number(value) for value in (0, 0.00123456, 0.5, 12.345, 123.4, 999.6, 1234.5, 1234567)]
    assert shown == ["0", "0.00123", "0.5", "12.3", "123", "1000", "1,234", "1,234,567"]


def test_columns_are_aligned_for_a_terminal() -> None:
    assert aligned([["", "x"], ["longer", "y"]]) == "        x\nlonger  y"


def test_a_table_of_markdown_has_its_rule_below_the_heading() -> None:
    assert markdown([["", "x"], ["longer", "y"]]) == "|  | x |\n| --- | --- |\n| longer | y |"
