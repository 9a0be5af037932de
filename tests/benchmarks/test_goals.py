"""Whether a goal is reached is decided from what was measured, and only where it was measured."""

from benchmarks.goals import PEERS, Outcome, ahead_of_peers, at_most, goal_rows, growth_at_most, share_of_floor
from benchmarks.results import Figure, Results

BURST = Figure("burst.one.2000", "a burst", "s")
CHANGE = Figure("change.a_b", "a change", "ms")


def results_of(figure: Figure = BURST, **seconds: float) -> Results:
    results = Results(places={"here": "ext4"})
    for tool, value in seconds.items():
        results.add("here", figure, tool, [value])
    return results


def test_a_limit_holds_for_the_median_or_for_a_percentile() -> None:
    limit = at_most("a burst", BURST.key, 2, "s")
    assert limit.judge(results_of(dirsync=2.0), "here") == Outcome("2 s", is_reached=True)
    assert limit.judge(results_of(dirsync=2.5), "here") == Outcome("2.5 s", is_reached=False)
    results = Results()
    results.add("here", CHANGE, "dirsync", [1.0] * 94 + [9.0] * 6)
    assert at_most("a change", CHANGE.key, 2, "ms", 50).judge(results, "here") == Outcome("1 ms", is_reached=True)
    assert at_most("a change", CHANGE.key, 2, "ms", 95).judge(results, "here") == Outcome("9 ms", is_reached=False)


def test_a_share_of_a_floor_is_one_of_its_speed() -> None:
    share = share_of_floor("a burst", BURST.key, "floor", 0.5)
    assert share.judge(results_of(dirsync=4.0, floor=2.0), "here") == Outcome("0.50 of it (4 s)", is_reached=True)
    assert share.judge(results_of(dirsync=5.0, floor=2.0), "here") == Outcome("0.40 of it (5 s)", is_reached=False)
    assert share.judge(results_of(dirsync=5.0), "here") is None


def test_who_is_ahead_is_ahead_of_each() -> None:
    ahead = ahead_of_peers("a burst", BURST.key)
    assert ahead.judge(results_of(dirsync=1.0, rsync=2.0, lsyncd=1.5), "here") == Outcome("1 s", is_reached=True)
    assert ahead.judge(results_of(dirsync=1.7, rsync=2.0, lsyncd=1.5), "here") == Outcome("1.7 s", is_reached=False)
    assert ahead.judge(results_of(dirsync=1.0), "here") is None


def test_growth_is_counted_for_a_hundred_thousand_files() -> None:
    small, large = Figure("small", "memory", "MiB"), Figure("large", "memory", "MiB")
    results = results_of(small, dirsync=100.0)
    results.add("here", large, "dirsync", [190.0])
    grown = growth_at_most("memory", "small", "large", 90_000, 100)
    assert grown.judge(results, "here") == Outcome("100 MiB", is_reached=True)


def test_only_goals_that_were_measured_have_a_row_with_the_ratios_beside() -> None:
    heading, row = goal_rows(results_of(dirsync=0.3, lsyncd=0.6), "here")
    assert row[:4] == ["2,000 small files at once", "0.15 s", "0.3 s", "**no**"]
    assert dict(zip(heading, row, strict=True))["lsyncd"] == "2x"
    assert [cell for cell in row[4:] if cell] == ["2x"]
    assert goal_rows(results_of(dirsync=0.3), "there") == [heading]
    assert "dirsync" not in PEERS
