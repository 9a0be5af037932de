"""What writers leave behind, in a line each, for tests."""

import os
from pathlib import Path

SECOND_NS = 1_000_000_000
LONG_AGO_NS = 1_600_000_000_123_456_789


def put(path: Path, content: str | bytes, at: int | None = None, mode: int | None = None) -> Path:
    """Write a file with its directories; `at` is its time in seconds after a fixed moment, with odd nanoseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if mode is not None:
        path.chmod(mode)
    if at is not None:
        date(path, at)
    return path


def put_at_once(path: Path, content: str | bytes, at: int) -> Path:
    """Put a file there with its time, as one state: it is made beside the directories and moved into place."""
    made = put(path.parent.parent / f".{path.name}.made", content, at)
    return made.replace(path)


def date(path: Path, at: int) -> None:
    """Set the time of a file, in seconds after a fixed moment."""
    os.utime(path, ns=(moment(at), moment(at)))


def moment(at: int) -> int:
    """Return a time in nanoseconds, `at` seconds after a fixed one."""
    return LONG_AGO_NS + at * SECOND_NS
