"""Whole trees of small files: the first synchronisation, what a tool costs while nothing happens, the next start."""

import time
from collections.abc import Collection

from benchmarks.results import Figure
from benchmarks.tools import Copy, Dirsync, DurableCopy, Rsync, Tool, Transport
from benchmarks.trees import LONG_AGO_NS, small_names, write_small
from benchmarks.waiting import marks_of
from benchmarks.work.interface import Trial, Work

MIB = 1024**2
FASTEST: Collection[type[Tool]] = (Dirsync, Rsync, Copy, DurableCopy)


class WholeTree(Work):
    """A tree at A and nothing at B. The clock runs from the start of the tool."""

    def __init__(self, count: int, *, is_for_all: bool) -> None:
        self.name = f"tree-{count}"
        self._count = count
        self._tools = None if is_for_all else FASTEST

    def takes(self, tool: type[Tool]) -> bool:
        """Say yes to the floors of small files, too; of very many files only to those that are fast."""
        return tool is not Transport and (self._tools is None or tool in self._tools)

    def measure(self, trial: Trial) -> None:
        """Bring all over, idle, list, stop, and start again with nothing changed."""
        count = f"{self._count:,}"
        names = small_names(self._count, "d")
        write_small(trial.pair.a, names)
        marks = marks_of(trial.pair.a, names)
        trial.tool.prepare()
        trial.pair.settle_disk()
        since = time.perf_counter()
        trial.tool.start()
        taken = trial.carry(since, a=marks)
        trial.note(Figure(f"first.{self._count}", f"first synchronisation of {count} small files", "s"), [taken])
        if trial.tool.is_floor:
            return
        if trial.tool.is_live:
            trial.probe()
            trial.rest()
            self._idle(trial, count)
        if isinstance(trial.tool, Dirsync):
            self._list(trial, trial.tool, count)
        trial.tool.stop()
        probes = trial.write_probes()
        trial.pair.settle_disk()
        since = time.perf_counter()
        trial.tool.start()
        taken = trial.carry(since, **probes)
        trial.note(Figure(f"restart.{self._count}", f"restart with {count} small files, until live", "s"), [taken])

    def _idle(self, trial: Trial, count: str) -> None:
        before = trial.tool.cpu_seconds()
        time.sleep(trial.scale.idle_seconds)
        share = (trial.tool.cpu_seconds() - before) / trial.scale.idle_seconds * 100
        trial.note(Figure(f"idle.cpu.{self._count}", f"idle with {count} files, of one core", "%"), [share])
        memory = trial.tool.memory_bytes() / MIB
        trial.note(Figure(f"idle.memory.{self._count}", "- memory, both sides together", "MiB"), [memory])

    def _list(self, trial: Trial, tool: Dirsync, count: str) -> None:
        taken = []
        for _ in range(trial.scale.listings):
            since = time.perf_counter()
            tool.command("lab3", "ls")
            taken.append((time.perf_counter() - since) * 1000)
        trial.note(Figure(f"list.{self._count}", f"`lab3 ls`, {count} files, whole process", "ms"), taken)


class EqualTrees(Work):
    """The same tree at both sides, and a tool that has seen neither."""

    name = "equal"

    def measure(self, trial: Trial) -> None:
        """Start, until one new file has come over each way."""
        names = small_names(trial.scale.equal, "d")
        for root in (trial.pair.a, trial.pair.b):
            write_small(root, names, LONG_AGO_NS)
        trial.tool.prepare()
        probes = trial.write_probes()
        trial.pair.settle_disk()
        since = time.perf_counter()
        trial.tool.start()
        taken = trial.carry(since, **probes)
        count = trial.scale.equal
        trial.note(Figure(f"equal.{count}", f"first start with {count:,} equal files, until live", "s"), [taken])
