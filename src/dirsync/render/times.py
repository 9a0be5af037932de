"""Shows times and sizes. A time that the platform's calendar cannot hold is shown as the nearest one it can."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = int((datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())
_NANOSECONDS = 1_000_000_000
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def local_time(time_ns: int) -> str:
    """Return `YYYY-MM-DD HH:MM:SS` in local time."""
    year, month, day, hour, minute, second = _local(time_ns // _NANOSECONDS)
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"


def clock_time(time_ns: int) -> str:
    """Return `HH:MM:SS.mmm` in local time."""
    _, _, _, hour, minute, second = _local(time_ns // _NANOSECONDS)
    return f"{hour:02}:{minute:02}:{second:02}.{time_ns % _NANOSECONDS // 1_000_000:03}"


def utc_time(time_ns: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    moment = _EPOCH + timedelta(seconds=_within(time_ns // _NANOSECONDS))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % _NANOSECONDS // 1000:06}Z".rjust(27, "0")


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
    return min(max(seconds, _FIRST), _LAST)


def _local(seconds: int) -> tuple[int, ...]:
    kept = _within(seconds)
    try:
        return time.localtime(kept)[:6]
    except (OSError, OverflowError, ValueError):
        return (_EPOCH + timedelta(seconds=kept)).timetuple()[:6]
