"""Many small files written at once while the tool is live: from the last write until the trees are the same."""

import time

from benchmarks.results import Figure
from benchmarks.trees import small_names, write_small
from benchmarks.waiting import marks_of
from benchmarks.work.interface import Trial, Work


class Burst(Work):
    """A burst at one side, then one at both sides."""

    name = "burst"

    def measure(self, trial: Trial) -> None:
        """Write the files, new ones each time."""
        count, a, b = trial.scale.burst, trial.pair.a, trial.pair.b
        trial.start()
        trial.rest()
        names = small_names(count, "one")
        write_small(a, names)
        since = time.perf_counter()
        taken = trial.carry(since, a=marks_of(a, names))
        trial.note(Figure(f"burst.one.{count}", f"{count:,} small files at once, at A", "s"), [taken])
        if not trial.tool.is_two_way:
            return
        trial.rest()
        at_a, at_b = small_names(count, "here"), small_names(count, "there")
        for number in range(0, count, 100):
            write_small(a, at_a[number : number + 100])
            write_small(b, at_b[number : number + 100])
        since = time.perf_counter()
        taken = trial.carry(since, a=marks_of(a, at_a), b=marks_of(b, at_b))
        trial.note(Figure(f"burst.both.{count}", f"{count:,} small files at once, at each side", "s"), [taken])
