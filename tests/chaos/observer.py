"""A reader that polls names which are only ever replaced whole: it must see whole values, and never nothing."""

import threading

from tests.chaos.people import CAREFUL
from tests.chaos.values import number_in


class Observer(threading.Thread):
    """Reads at one side until told to end; `seen` counts, `torn` says what was wrong."""

    def __init__(self, root):
        super().__init__(name="observer", daemon=True)
        self._paths = [root / name for name in CAREFUL]
        self._ends = threading.Event()
        self._there = set()
        self.seen = 0
        self.torn = []

    def end(self):
        """Stop reading."""
        self._ends.set()
        self.join()

    def run(self):
        while not self._ends.wait(0.001):
            for path in self._paths:
                self._look(path)

    def _look(self, path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if path in self._there:
                self.torn.append(f"{path} was gone for a moment")
            return
        except OSError as error:
            self.torn.append(f"{path}: {error}")
            return
        self._there.add(path)
        self.seen += 1
        if number_in(content) is None:
            self.torn.append(f"{path} held {len(content)} bytes that nobody wrote: {content[:60]!r}")
