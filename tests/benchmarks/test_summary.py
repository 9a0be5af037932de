"""Medians, percentiles and ratios of what was measured."""

import pytest

from benchmarks.results import Figure, load
from benchmarks.summary import ratio, summarise, summary_of

SECONDS = Figure("a.key", "a title", "s")


def test_a_run_counts_by_its_median_and_the_spread_is_that_of_the_runs() -> None:
    summary = summarise([[1.0, 2.0, 30.0], [4.0], [3.0]])
    assert summary is not None
    assert (summary.median, summary.least, summary.most, summary.runs) == (3.0, 2.0, 4.0, 3)


def test_nothing_measured_is_no_summary() -> None:
    assert summarise([]) is None
    assert summarise([[]]) is None


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)])
def test_percentiles_are_values_that_were_measured(percent: float, value: int) -> None:
    summary = summarise([[float(number) for number in range(100, 50, -1)], [float(number) for number in range(1, 51)]])
    assert summary is not None
    assert summary.is_distribution
    assert summary.percentile(percent) == value


def test_single_values_are_no_distribution() -> None:
    summary = summarise([[1.0], [2.0]])
    assert summary is not None
    assert not summary.is_distribution


def test_a_ratio_above_one_says_that_the_other_takes_more() -> None:
    ours, theirs, nothing = summarise([[2.0]]), summarise([[5.0]]), summarise([[0.0]])
    assert ours is not None
    assert theirs is not None
    assert nothing is not None
    assert ratio(ours, theirs) == 2.5
    assert ratio(nothing, theirs) is None


def test_results_of_several_runs_add_up_in_the_file(tmp_path) -> None:
    file = tmp_path / "new" / "results.json"
    for value in (1.0, 3.0):
        results = load(file)
        results.places["here"] = "ext4"
        results.add("here", SECONDS, "dirsync", [value])
        results.add("there", SECONDS, "dirsync", [100.0])
        results.save(file)
    results = load(file)
    summary = summary_of(results, "here", SECONDS.key, "dirsync")
    assert summary is not None
    assert (summary.median, summary.runs) == (2.0, 2)
    assert results.figures == {SECONDS.key: SECONDS}
    assert results.places == {"here": "ext4"}
    assert summary_of(results, "here", SECONDS.key, "rsync") is None
