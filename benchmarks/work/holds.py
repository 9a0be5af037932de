"""What no other tool has: updates of a locked file, held in order and applied in order."""

import json
import subprocess
import threading
import time
from pathlib import Path

from benchmarks.results import Figure
from benchmarks.tools import Dirsync, Tool
from benchmarks.tools.dirsync import BIN
from benchmarks.waiting import TooSlow
from benchmarks.work.interface import TreesDiffer, Trial, Work

NAME = "held"
UPDATE_BYTES = 4096


class Held(Work):
    """One locked file, written at B again as soon as the update before is held; then unlocked."""

    name = "held"

    def takes(self, tool: type[Tool]) -> bool:
        """Say yes to dirsync alone."""
        return tool is Dirsync

    def measure(self, trial: Trial) -> None:
        """Fill the queue, then drain it by one `lab3 unlock`, which returns when all are applied."""
        tool = trial.tool
        if not isinstance(tool, Dirsync):
            raise TypeError(tool)
        count = trial.scale.held
        (trial.pair.b / NAME).write_bytes(b"first")
        trial.start()
        tool.command("lab3", "lock", NAME)
        trial.rest()
        taken = self._hold(trial, tool, count)
        trial.note(Figure("held.one", "one update held: written at B until in the queue", "ms"), taken)
        trial.rest()
        since = time.perf_counter()
        answer = tool.command("lab3", "unlock", NAME)
        drained = time.perf_counter() - since
        if f"{count} updates applied" not in answer:
            raise TreesDiffer(answer.strip())
        trial.carry(since)
        trial.note(Figure(f"held.drain.{count}", f"{count:,} held updates of 4 KiB applied, in order", "s"), [drained])

    def _hold(self, trial: Trial, tool: Dirsync, count: int) -> list[float]:
        """Write updates, each when the one before is held; return the milliseconds of each.

        Whoever wrote faster would have versions merged that nobody has seen; the next write waits for the event.
        """
        words: list[str | Path] = [BIN / "dirsync", "events", "--follow", "--json"]
        taken = []
        with subprocess.Popen(
            [*words, "--config", tool.config], stdout=subprocess.PIPE, env=tool.processes.environment
        ) as following:
            limit = threading.Timer(trial.scale.wait_seconds, following.kill)
            limit.start()
            try:
                _wait_event(following, "locked", path=NAME)
                for number in range(count):
                    (trial.pair.b / NAME).write_bytes(number.to_bytes(4) * (UPDATE_BYTES // 4))
                    since = time.perf_counter()
                    _wait_event(following, "queued", depth=number + 1)
                    taken.append((time.perf_counter() - since) * 1000)
            finally:
                limit.cancel()
                following.kill()
        return taken


def _wait_event(following: "subprocess.Popen[bytes]", name: str, **fields: object) -> None:
    for line in following.stdout or ():
        said = json.loads(line)
        if said["event"] == name and fields.items() <= said.items():
            return
    raise TooSlow(f"no event {name} {fields} in time")
