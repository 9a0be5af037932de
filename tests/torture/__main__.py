"""The sweep as a command: `make torture [MINUTES=n] [ONLY=scenario[:point]] [FROM=scenario[:point]] [SEED=n] [JOBS=n]`.

Each scenario is told once without a death, which counts the calls that change a file; then three times for each of
them: killed before it ("12"), killed right after it ("12+"), told to stop before it ("12t"). Within MINUTES each
scenario gets its share and, where not every point fits into that, a sample by SEED. A call count varies by a few from
telling to telling, because threads and the background interleave: a point beyond the last call of its telling is told,
but not reached, and the line says so.
"""

import argparse
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from fnmatch import fnmatch
from pathlib import Path

from tests.torture import shim
from tests.torture.scenarios import all_scenarios
from tests.torture.worker import Summary, Task

_TOP = Path(__file__).parents[2]


class Sweep:
    """All workers of one sweep, their tasks, and what came of them."""

    def __init__(self, directory: Path, library: Path, tasks: list[Task], jobs: int, seconds: float | None) -> None:
        self._directory = directory
        self._environment = os.environ | {"LD_PRELOAD": str(library), "TZ": "UTC"}
        self._environment["XDG_CACHE_HOME"] = str(directory / "cache")
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._jobs = jobs
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.summaries: list[Summary] = []
        self.broken: list[str] = []

    def run(self) -> None:
        """Sweep until every task was done."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self._jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, number: int) -> None:
        """Have one worker after the other do what there is, a new one where the last broke down."""
        for again in itertools.count():
            directory = self._directory / f"{number}.{again}"
            directory.mkdir()
            words = [sys.executable, "-m", "tests.torture.worker", str(directory)]
            with subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment, cwd=_TOP
            ) as worker:
                broken_at = self._work_with(worker)
            if broken_at is None:
                return
            self.broken.append(f"{broken_at}: the worker broke down, with {worker.returncode}")

    def _work_with(self, worker: "subprocess.Popen[str]") -> str | None:
        """Give a worker the tasks one by one; return the scenario at which it broke down, None where it did not."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        while True:
            try:
                task = self._next_task()
            except queue.Empty:
                return None
            worker.stdin.write(json.dumps({name: getattr(task, name) for name in Task.__slots__}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            if not line:
                return task.scenario
            self._note(Summary(**json.loads(line)))

    def _next_task(self) -> Task:
        left = self._tasks.qsize()
        task = self._tasks.get_nowait()
        if self._deadline is None:
            return task
        share = max(0.0, self._deadline - time.monotonic()) * self._jobs / max(left, self._jobs)
        return Task(task.scenario, task.seed, share, task.first, task.only)

    def _note(self, summary: Summary) -> None:
        self.summaries.append(summary)
        print(
            f"{summary.scenario:24} {summary.calls:4} calls, {summary.told:4} of {summary.points:4} points told,"
            f" {summary.deaths:4} reached, {len(summary.faults)} failed, {summary.seconds:6.1f} s",
            flush=True,
        )
        for point, fault in summary.faults.items():
            print(f"    {summary.scenario}:{point} {fault}", flush=True)


def _tasks(options: argparse.Namespace) -> list[Task]:
    """Return what is to be swept, in order."""
    names = list(all_scenarios())
    only, _, point = options.only.partition(":")
    if only:
        names = [name for name in names if fnmatch(name, only)]
    first, _, begin = options.begin.partition(":")
    if first:
        names = names[names.index(first) :] if first in names else []
    if not names:
        sys.exit(f"no such scenario; there are {', '.join(all_scenarios())}")
    return [Task(name, options.seed, None, begin if name == first else "", point) for name in names]


def main() -> int:
    """Sweep, print a line for each scenario, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="bound of the whole sweep; 0: every point")
    parser.add_argument(
        "--only", default="", metavar="SCENARIO[:POINT]", help="these scenarios (a pattern), or one point"
    )
    parser.add_argument("--from", default="", dest="begin", metavar="SCENARIO[:POINT]", help="go on from here")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    tasks = _tasks(options)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        library = shim.build(Path(directory))
        if library is None:
            print("kill sweeps need Linux and a C compiler (gcc or clang): nothing was swept")
            return 0
        seconds = options.minutes * 60 if options.minutes else None
        sweep = Sweep(Path(directory), library, tasks, min(options.jobs, len(tasks)), seconds)
        sweep.run()
    failed = [f"{each.scenario}:{point}" for each in sweep.summaries for point in each.faults]
    told, deaths = sum(s.told for s in sweep.summaries), sum(s.deaths for s in sweep.summaries)
    print(f"{len(sweep.summaries)} scenarios, {told} points told, {deaths} kills, {len(failed)} failed")
    for name in failed:
        print(f"  make torture ONLY='{name}'")
    for name in sweep.broken:
        print(f"  {name}")
    return 1 if failed or sweep.broken else 0


if __name__ == "__main__":
    sys.exit(main())
