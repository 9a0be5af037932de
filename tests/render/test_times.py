import random
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dirsync.render.times import LocalTimes, clock_time, duration_text, local_time, size_text, utc_time


@given(st.integers())
@example(2**63 - 1)
@example(-(2**63))
@example(10**40)
def test_any_time_has_a_text(time_ns: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", local_time(time_ns))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", clock_time(time_ns))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", utc_time(time_ns))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "Europe/Dublin", "Africa/Monrovia", "Australia/Lord_Howe"])
def test_many_times_are_shown_as_each_of_them(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the clock was put forward or back, and where it was some odd seconds apart from the world's."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    chosen = random.Random(zone)
    changes = [1711846800, 1729990800, 63593070, -1_000_000_000, 1728142200, 0, -(10**15), 10**15]
    begins = changes + [chosen.randrange(-3 * 10**9, 4 * 10**9) for _ in range(300)]
    times = [(begin + step) * 10**9 + 5 for begin in begins for step in (0, -1, 1, 7, 899, 900, -900, 450, 451)]
    many = LocalTimes()
    try:
        assert [many.text(t) for t in times] == [local_time(t) for t in times]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_calendar_without_the_time_shows_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: float) -> time.struct_time:
        raise OverflowError

    monkeypatch.setattr(time, "localtime", refuse)
    assert local_time(-(10**9)) == "1969-12-31 23:59:59"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1204, "1.2 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**63, "8.0 EiB"),
        (2**80, "1048576.0 EiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0.44, "0.4 ms"), (4.1, "4 ms"), (999, "999 ms"), (61_000, "61.0 s")]
)
def test_durations(milliseconds: float, text: str) -> None:
    assert duration_text(milliseconds) == text
