"""Owns getting a server's notifications to its standard output without the server ever waiting for it.

Lines are rendered and written by a thread of their own. Where nobody reads, where the output is closed or its disk
full, lines are lost; the server goes on.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import TextIO

from dirsync.core.events import Event
from dirsync.limits import SUBSCRIBER_EVENTS_MAX

_LAST_LINES_SECONDS = 0.3
"""How long the end of the server may wait for a reader to take the last lines."""


class Notifications:
    """Prints events as they come; a context manager whose end prints what is left, if somebody still reads."""

    def __init__(self, stream: TextIO | None, line: Callable[[Event], str]) -> None:
        self._descriptor, self._encoding = _target(stream)
        self._line = line
        self._waiting: queue.Queue[Event | None] = queue.Queue(SUBSCRIBER_EVENTS_MAX)
        self._is_ending = False
        self._thread = threading.Thread(target=self._print_all, name="notifications", daemon=True)

    def __enter__(self) -> "Notifications":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        with contextlib.suppress(queue.Full):  # then the thread has events left, after which it looks at the flag
            self._waiting.put_nowait(None)
        self._thread.join(_LAST_LINES_SECONDS)

    def emit(self, event: Event) -> None:
        """Take an event. Never blocks, never fails: an event that finds no room is not printed."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(event)

    def _print_all(self) -> None:
        while not (self._is_ending and self._waiting.empty()):
            event = self._waiting.get()
            if event is not None and self._descriptor is not None:
                self._print(self._descriptor, event)

    def _print(self, descriptor: int, event: Event) -> None:
        # Not through the stream: a thread that waits inside it would hold its lock, which the end of Python needs.
        data = (self._line(event) + "\n").encode(self._encoding, "backslashreplace")
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
