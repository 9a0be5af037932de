"""Power cuts: real servers on real file systems that lose, at a chosen call, whatever was not durable.

Each case first counts the changes of a run that nothing disturbs, then repeats the work with the power failing just
before some of them. FAULT_CUTS sets how many points a case tries (0: all), FAULT_SEED which.
"""

import os
import random
from pathlib import Path

import pytest

from tests.faults.cuts import OF_A_ONLY, SCENARIOS, Ledger, check, other
from tests.faults.disks import Disk, need_disks
from tests.faults.machines import Machines
from tests.faults.shim import Rule

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

CUTS = int(os.environ.get("FAULT_CUTS", "2"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
LAYOUTS = {
    # What lies on which disk, and which of the disks lose their power.
    "one disk": ("one", "one"),
    "two disks": ("tree", "state", "cut both"),
    "two disks, the tree's is cut": ("tree", "state", "cut tree"),
    "two disks, the state's is cut": ("tree", "state", "cut state"),
}


class Case:
    """One scenario on one layout of disks of one kind."""

    def __init__(self, home: Path, library: Path, scenario: str, role: str, kind: str, layout: str) -> None:
        self._home, self._library = home, library
        self._scenario, self._role, self._kind, self._layout = scenario, role, kind, layout
        self._number = 0
        self._cut: list[Path] = []

    def play(self, at: int, *, is_log_kept: bool, is_both: bool) -> int:
        """Cut the power at the `at`-th change (0: never), and check; return how many changes there were."""
        self._number += 1
        home = self._home / str(self._number)
        home.mkdir()
        machines = Machines(home)
        try:
            self._set_up(machines, is_both=is_both)
            rule = machines.rules[self._role]
            scenario, ledger = SCENARIOS[self._scenario], Ledger()
            machines.start("b", "a")
            scenario.prepare(machines, self._role)
            for role in "ab":
                machines.sync(role)
            words = [disk.path for disk in machines.disks[self._role]]
            rule.cut(at, *words, is_log_kept=is_log_kept)
            scenario.work(machines, self._role, ledger)
            count = rule.count
            self._end(machines, is_cut=at > 0, is_log_kept=is_log_kept, is_both=is_both)
            rule.disarm()
            machines.start_alone("b", "a")
            check(machines, ledger)
            return count
        finally:
            machines.close()

    def _set_up(self, machines: Machines, *, is_both: bool) -> None:
        layout = LAYOUTS[self._layout]
        self._cut = cut = []
        for role in self._role + (other(self._role) if is_both else ""):
            disks = {name: Disk(machines.home, f"{name}-{role}", self._kind) for name in dict.fromkeys(layout[:2])}
            machines.place_directory(role, disks[layout[0]])
            machines.place_state(role, disks[layout[1]])
            cut += [disk.path for name, disk in disks.items() if layout[2:] in ((), ("cut both",), (f"cut {name}",))]
        machines.rules[self._role] = Rule(self._library, machines.home / "rule", tuple(cut))

    def _end(self, machines: Machines, *, is_cut: bool, is_log_kept: bool, is_both: bool) -> None:
        """Have the machine (or both) without power, if it is not yet, and with power again."""
        roles = self._role + (other(self._role) if is_both else "")
        for role in roles:
            if role in machines.running:
                machines.kill(role)
        for role in roles:
            for disk in machines.disks[role]:
                if is_cut and disk.path in self._cut:
                    # The change may never have come this time; and a disk that lives on elsewhere is not to be copied.
                    disk.cut(is_log_kept=is_log_kept)
                disk.reboot()
        machines.stop()


def roles(scenario: str) -> str:
    """Return who does this."""
    return "a" if scenario in OF_A_ONLY else "ab"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("scenario", "role"), [(name, role) for name in SCENARIOS for role in roles(name)])
def test_nothing_is_lost(
    tmp_path: Path, library: Path, scenario: str, role: str, layout: str, kind: str, record_property
) -> None:
    need_disks(kind)
    chance = random.Random(f"{SEED} {scenario} {role} {layout} {kind}")
    case = Case(tmp_path, library, scenario, role, kind, layout)
    count = case.play(0, is_log_kept=False, is_both=False)
    points = list(range(1, count + 1))
    for at in points if CUTS == 0 else chance.sample(points, min(CUTS, count)):
        is_log_kept = chance.random() < 0.5
        is_both = scenario != "enqueue" and chance.random() < 0.3
        cut = f"the power failed before change {at} of {count}{', log kept' * is_log_kept}{', at both' * is_both}"
        try:
            case.play(at, is_log_kept=is_log_kept, is_both=is_both)
        except AssertionError as error:
            raise AssertionError(f"{cut}: {error}") from error
    record_property("power cuts", len(points) if CUTS == 0 else min(CUTS, count))
