"""Owns the notices that arrive on a connection until they are dealt with: their order, and how many may wait."""

from collections.abc import Callable

from dirsync.errors import RemoteProtocolError
from dirsync.net.flow import GRANTED_PARTS, WINDOW_PARTS
from dirsync.wire.messages import Message


class Notices:
    """Hands each notice over as it arrives; what nobody takes yet is kept."""

    def __init__(self, is_windowed: bool) -> None:
        self._is_windowed = is_windowed
        self._unconsumed = 0
        self._ungranted = 0
        self._untaken: list[Message] = []
        self._take: Callable[[Message], None] | None = None

    def arrived(self, notice: Message) -> None:
        """Hand over. Raises RemoteProtocolError where more were sent than there is room for."""
        self._unconsumed += 1
        if self._is_windowed and self._unconsumed > WINDOW_PARTS:
            raise RemoteProtocolError("more notices were sent than there is room for")
        if self._take is None:
            self._untaken.append(notice)
        else:
            self._take(notice)

    def consumed(self) -> bool:
        """One of them is dealt with; return whether the sender is to be told, of GRANTED_PARTS at a time."""
        self._unconsumed -= 1
        self._ungranted = (self._ungranted + 1) % GRANTED_PARTS
        return self._is_windowed and self._ungranted == 0

    def hand_to(self, take: Callable[[Message], None]) -> None:
        """Hand over from now on, beginning with what was kept."""
        self._take = take
        for notice in self._untaken:
            take(notice)
        self._untaken.clear()
