"""Who was not let in, said to people: once each, so that whoever knocks again and again does not fill the log."""

from collections.abc import Callable

from dirsync.core.events import Emit, EventName

_REPEAT_SECONDS = 60.0
_REMEMBERED_MAX = 100


class Strangers:
    """Announces refused connections, the same host with the same reason once a minute at most."""

    def __init__(self, emit: Emit, now_seconds: Callable[[], float]) -> None:
        self._emit = emit
        self._now_seconds = now_seconds
        self._said: dict[tuple[str, str], float] = {}

    def refused(self, host: str, reason: str) -> None:
        """Announce that a connection from `host` was refused."""
        now = self._now_seconds()
        self._said = {known: at for known, at in self._said.items() if now - at < _REPEAT_SECONDS}
        if (host, reason) in self._said or len(self._said) >= _REMEMBERED_MAX:
            return
        self._said[host, reason] = now
        self._emit(EventName.NOTICE, None, {"reason": f"refused a connection from {host}: {reason}"})
