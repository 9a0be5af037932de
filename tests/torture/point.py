"""One point of a sweep: a scenario told on a fresh copy of its prepared home, with a death at one call, and checked."""

import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.servers import Tree, tree_of
from tests.torture import checks
from tests.torture.home import Home
from tests.torture.play import Play
from tests.torture.processes import Stuck
from tests.torture.scenarios import Scenario, seed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a point. `calls` is how many were counted, `call` the one at which the server died."""

    calls: int
    has_died: bool
    call: str
    seconds: float
    fault: str = ""


class Prepared:
    """A scenario with its home, ready to be copied, and what must stand there at the end."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self._directory = directory
        self._home = Home(directory / "prepared")
        self._home.make()
        seed(self._home.directory("a"))
        play = Play(self._home)
        try:
            for role in "ab":
                play.start(role)
            play.wait_ready("a", "b")
            play.settle()
            scenario.prepare(play)
            play.settle()
            play.stop_all()
            self._expected = self._modelled()
            scenario.between(play)
            play.note_values()
            self._values = play.values
        finally:
            play.close()

    def _modelled(self) -> Tree | None:
        if self.scenario.model is None:
            return None
        model = self._directory / "model" / "tree"
        model.parent.mkdir()
        shutil.copytree(self._home.directory("a"), model, symlinks=True)
        self.scenario.model(model)
        return tree_of(model)

    def tell(self, number: int = 0, how: str = "") -> Outcome:
        """Tell it once, with the victim's end at the call of this number (0: nobody ends); `how` as in `shim.HOW`."""
        began = time.monotonic()
        home = self._home.copied(self._directory / f"{number}{how}")
        play = Play(home, self.scenario.victim, self.scenario.before)
        play.values.update(self._values)
        fault = ""
        try:
            self._tell(play, number, how)
        except (AssertionError, Stuck) as error:
            fault = f"{error}" or traceback.format_exc(limit=-2)
        finally:
            calls = play.control.count
            call = play.control.call(number)
            play.close()
            home.remove()
        return Outcome(calls, play.has_died, call, time.monotonic() - began, fault)

    def _tell(self, play: Play, number: int, how: str) -> None:
        scenario, home = self.scenario, play.home
        outside = home.outside_tree()
        victim, other = scenario.victim, "b" if scenario.victim == "a" else "a"
        if scenario.is_at_start:
            if not scenario.is_alone:
                play.start(other)
                play.wait_ready(other)
            play.arm(number, how)
            play.start(victim)
            play.wait_ready(victim)
            if scenario.is_alone:
                play.start(other)
                play.wait_ready(other)
        else:
            for role in "ab":
                play.start(role)
            play.wait_ready("a", "b")
            play.settle()
            play.arm(number, how)
        scenario.act(play)
        play.control.disarm()
        play.settle()
        scenario.check(play)
        checks.check_trees(home, self._expected)
        checks.check_quiet(play)
        checks.check_said(play)
        checks.check_kept(play, scenario.kept)
        play.kill_all()
        for role in "ab":
            checks.check_state(home, role)
        checks.check_outside(home, outside)
