"""What goes wrong: servers killed, ended and stopped, the line between them cut, garbled and silent, disks full."""

import random
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import Counter

from tests.chaos.people import CAREFUL, FLAT, NESTED
from tests.support.fault_proxy import WAYS

_LONG_SECONDS = (0.1, 0.5, 2.0, 11.0)
"""How long a fault lasts; the last one is longer than the silence after which a peer counts as gone."""


class _Hand(threading.Thread, ABC):
    """Does one thing after the other until told to end; each of them mends what it broke before it returns."""

    pauses = (0.0,)

    def __init__(self, ground, seed):
        super().__init__(name=type(self).__name__, daemon=True)
        self._ground = ground
        self._random = random.Random(f"{type(self).__name__} {seed}")
        self._ends = threading.Event()
        self.done = Counter()
        self.failed = None

    def end(self):
        """Finish what is under way, and no more."""
        self._ends.set()
        self.join()

    def run(self):
        try:
            while not self._ends.wait(self._random.choice(self.pauses)):
                deed = self._random.choice(self._deeds())
                deed()
                self.done[deed.__name__.strip("_")] += 1
        except BaseException as error:
            self.failed = error
            raise

    def _last(self):
        self._ends.wait(self._random.choice(_LONG_SECONDS))

    @abstractmethod
    def _deeds(self):
        """Return what there is to choose from now."""


class Processes(_Hand):
    """Servers die and stand still."""

    pauses = (0.2, 1.0, 3.0)

    def _deeds(self):
        return [self._killed, self._killed, self._killed, self._ended, self._both_killed, self._stopped]

    def _killed(self):
        role = self._random.choice("ab")
        self._ground.kill(role)
        self._ends.wait(self._random.choice((0, 0.2, 2.0)))
        self._ground.start(role)

    def _ended(self):
        role = self._random.choice("ab")
        complaint = self._ground.end(role)
        assert not complaint, complaint
        self._ground.start(role)

    def _both_killed(self):
        for role in "ab":
            self._ground.kill(role)
        for role in self._random.sample("ab", 2):
            self._ground.start(role)

    def _stopped(self):
        role = self._random.choice("ab")
        self._ground.pause(role)
        self._last()
        self._ground.go_on(role)


class Line(_Hand):
    """The connection fails in every way, and disks fill up."""

    pauses = (0.5, 2.0, 4.0)

    def _deeds(self):
        deeds = [self._reset, self._silent, self._garbled]
        return [*deeds, self._full, self._full] if self._ground.can_fill else deeds

    def _reset(self):
        self._ground.proxy.cut("reset")

    def _silent(self):
        ways = self._random.choice((WAYS, WAYS, ("up",), ("down",)))
        self._ground.proxy.stalled.update(ways)
        self._last()
        self._ground.proxy.stalled.clear()

    def _garbled(self):
        self._ground.proxy.corrupt_next()

    def _full(self):
        role = self._random.choice("ab")
        self._ground.fill(role)
        self._last()
        self._ground.empty(role)


class Clients(_Hand):
    """People lock, unlock and list; whatever they are answered, it is one line."""

    pauses = (0.05, 0.3)

    def _deeds(self):
        return [self._lock, self._lock, self._unlock, self._list]

    def _ask(self, *words):
        try:
            result = self._ground.command(*words)
        except subprocess.TimeoutExpired:
            # Server A stands still or its disk is full; the client itself gives up after 10 s, an unlock waits.
            return
        complaint = result.stderr.strip().splitlines()
        assert len(complaint) <= 1, complaint

    def _lock(self):
        self._ask("lab3", "lock", self._random.choice(FLAT + NESTED + CAREFUL))

    def _unlock(self):
        self._ask("lab3", "unlock", self._random.choice(FLAT + NESTED + CAREFUL))

    def _list(self):
        self._ask("lab3", "ls")
