"""Owns getting a server's notifications to its standard output without the server ever waiting for it.

Lines are rendered and written by a thread of their own. Where nobody reads, where the output is closed or its disk
full, lines are lost; the server goes on.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

from dirsync.core.events import Event
from dirsync.limits import SUBSCRIBER_EVENTS_MAX

_LINES_AT_ONCE = 64
"""Lines of one write: a burst costs few system calls, and little is lost where the output fails."""
_LAST_LINES_SECONDS = 0.3
"""How long the end of the server may wait for a reader to take the last lines."""


class Notifications:
    """Prints events as they come; a context manager whose end prints what is left, if somebody still reads."""

    def __init__(self, stream: TextIO | None, line: Callable[[Event], str]) -> None:
        self._descriptor, self._encoding = _target(stream)
        self._line = line
        self._waiting: deque[Event] = deque()
        self._has_some = threading.Event()
        self._is_ending = False
        self._thread = threading.Thread(target=self._print_all, name="notifications", daemon=True)

    def __enter__(self) -> "Notifications":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._has_some.set()
        self._thread.join(_LAST_LINES_SECONDS)

    def emit(self, event: Event) -> None:
        """Take an event. Never blocks, never fails: an event that finds no room is not printed."""
        if self._descriptor is None or len(self._waiting) >= SUBSCRIBER_EVENTS_MAX:
            return
        self._waiting.append(event)
        if not self._has_some.is_set():
            self._has_some.set()

    def _print_all(self) -> None:
        while self._waiting or not self._is_ending:
            self._has_some.wait()
            self._has_some.clear()  # before it is looked: what comes from now on is either seen or sets it again
            while self._descriptor is not None and self._waiting:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), _LINES_AT_ONCE))]
                self._print(self._descriptor, some)

    def _print(self, descriptor: int, events: list[Event]) -> None:
        # Not through the stream: a thread that waits inside it would hold its lock, which the end of Python needs.
        data = "".join(self._line(event) + "\n" for event in events).encode(self._encoding, "backslashreplace")
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            return


def _target(stream: TextIO | None) -> tuple[int | None, str]:
    """Return where the stream goes, and its encoding; None where it goes nowhere (closed, or quiet)."""
    if stream is None:
        return None, "utf-8"
    try:
        return stream.fileno(), stream.encoding
    except (OSError, ValueError):
        return None, "utf-8"
