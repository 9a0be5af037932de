"""Shows times and sizes. A time that the platform's calendar cannot hold is shown as the nearest one it can."""

import functools
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = int((datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())
_NANOSECONDS = 1_000_000_000
_QUARTER_SECONDS = 900
_IN_HOUR = tuple(f"{minute:02}:{second:02}" for minute in range(60) for second in range(60))
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def local_time(time_ns: int) -> str:
    """Return `YYYY-MM-DD HH:MM:SS` in local time."""
    return "%04d-%02d-%02d %02d:%02d:%02d" % _local(time_ns // _NANOSECONDS)  # noqa: UP031  (half the time of an f-string)


class LocalTimes:
    """`local_time` for many times, most of which come together: a quarter of an hour is looked up once as a whole.

    A quarter in which the clock does not just run on, by any rule of any time zone, is never taken for one that does.
    """

    def __init__(self) -> None:
        # Of each quarter seen: the text up to the hour, and the second of the hour in which it begins.
        self._known: dict[int, tuple[str, int] | None] = {}
        self._seen: set[int] = set()

    def text(self, time_ns: int) -> str:
        """Return what `local_time` returns."""
        quarter, second = divmod(time_ns // _NANOSECONDS, _QUARTER_SECONDS)
        known = self._known.get(quarter)
        if known is not None:
            return known[0] + _IN_HOUR[known[1] + second]
        if quarter not in self._seen:
            self._seen.add(quarter)  # a quarter with one time in it is not worth two more looks
        elif quarter not in self._known:
            self._known[quarter] = _whole_quarter(quarter)
        return local_time(time_ns)


def _whole_quarter(quarter: int) -> tuple[str, int] | None:
    begin = quarter * _QUARTER_SECONDS * _NANOSECONDS
    first, last = local_time(begin), local_time(begin + (_QUARTER_SECONDS - 1) * _NANOSECONDS)
    start, end = (int(text[14:16]) * 60 + int(text[17:19]) for text in (first, last))
    is_steady = first[:14] == last[:14] and end - start == _QUARTER_SECONDS - 1
    return (first[:14], start) if is_steady else None


def clock_time(time_ns: int) -> str:
    """Return `HH:MM:SS.mmm` in local time."""
    _, _, _, hour, minute, second = _local(time_ns // _NANOSECONDS)
    return f"{hour:02}:{minute:02}:{second:02}.{time_ns % _NANOSECONDS // 1_000_000:03}"


def utc_time(time_ns: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return f"{_utc_second(time_ns // _NANOSECONDS)}.{time_ns % _NANOSECONDS // 1000:06}Z".rjust(27, "0")


@functools.lru_cache(16)
def _utc_second(seconds: int) -> str:
    # Remembered: the events of a burst are of the same few seconds.
    return f"{_EPOCH + timedelta(seconds=_within(seconds)):%Y-%m-%dT%H:%M:%S}"


def size_text(size: int) -> str:
    """Return `512 B`, `1.2 KiB`, `3.4 GiB`."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1024
        if value < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def duration_text(milliseconds: float) -> str:
    """Return `0.4 ms`, `4 ms`, `1.3 s`."""
    if milliseconds < 1:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"


def _within(seconds: int) -> int:
    return seconds if _FIRST <= seconds <= _LAST else min(max(seconds, _FIRST), _LAST)


def _local(seconds: int) -> tuple[int, ...]:
    kept = _within(seconds)
    try:
        return time.localtime(kept)[:6]
    except (OSError, OverflowError, ValueError):
        return (_EPOCH + timedelta(seconds=kept)).timetuple()[:6]
