"""Paths at which something stands that is not carried, or cannot be read.

Owns what was last said about each, so that everything is said once, and the patience with what may pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dirsync.core.entry import Problem, Untracked
from dirsync.core.events import EventName
from dirsync.core.paths import RelPath
from dirsync.disk.scan import Scan
from dirsync.limits import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
from dirsync.replica.site import Site


@dataclass(slots=True)
class _Oddity:
    found: Untracked | Problem
    delay: float = RETRY_FIRST_SECONDS
    is_unlisted: bool = False


class Oddities:
    """What is odd now. Times are the event loop's."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._odd: dict[RelPath, _Oddity] = {}
        self._skipped: set[RelPath] = set()

    def has(self, path: RelPath) -> bool:
        """Return whether something odd stands at the path."""
        return path in self._odd

    def all(self) -> Iterator[tuple[RelPath, Untracked | Problem]]:
        """Yield everything odd."""
        return ((path, oddity.found) for path, oddity in self._odd.items())

    def set(self, path: RelPath, found: Untracked | Problem) -> bool:
        """Take note of something odd and announce it; return whether that is news."""
        before = self._odd.get(path)
        if before is not None and before.found == found:
            return False
        is_unlisted = before is not None and before.is_unlisted
        self._odd[path] = _Oddity(found, is_unlisted=is_unlisted)
        if isinstance(found, Problem):
            self._site.emit(EventName.ERROR, path, {"reason": found.reason})
        elif path not in self._skipped:
            self._skipped.add(path)
            self._site.emit(EventName.SKIPPED, path, {"reason": found.reason})
        return True

    def discard(self, path: RelPath) -> bool:
        """Forget a path at which nothing is odd any more; return whether something was."""
        return self._odd.pop(path, None) is not None

    def retry_at(self, path: RelPath, now: float) -> float:
        """Return when to try again to read a path."""
        oddity = self._odd[path]
        delay = oddity.delay
        oddity.delay = min(delay * 2, RETRY_MAX_SECONDS)
        return now + delay

    def is_unlisted(self, path: RelPath) -> bool:
        """Return whether the path is a directory that could not be listed; only a scan says otherwise."""
        oddity = self._odd.get(path)
        return oddity is not None and oddity.is_unlisted

    def set_unlisted(self, path: RelPath, reason: str) -> bool:
        """Take note that a directory cannot be listed; return whether that is news."""
        is_news = self.set(path, Problem(reason))
        self._odd[path].is_unlisted = True
        return is_news

    def gone_after(self, found: Scan) -> list[RelPath]:
        """Return the paths to look at again after a full scan: what it did not meet, and what may have passed."""
        again = []
        for path, oddity in self._odd.items():
            if path in found.unreadable or path in found.untracked:
                continue
            oddity.is_unlisted = False
            again.append(path)
        return again

    def clear(self) -> None:
        """Forget everything."""
        self._odd.clear()
