"""What dirsync wants to reach, and whether it did: absolute limits, shares of what the machine can do, being ahead."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import OURS, show_number, show_ratio
from benchmarks.results import Results
from benchmarks.summary import Summary, summary_of
from benchmarks.tools import TOOLS, Copy, DurableCopy, Transport

PEERS = tuple(tool.name for tool in TOOLS if tool.name != OURS and not tool.is_floor)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal at a place: what was measured, and whether that is enough."""

    measured: str
    is_reached: bool


Judge = Callable[[Results, str], Outcome | None]
"""From results and a place; None where it was not measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal. `figure` is the one whose ratios to the others stand beside it."""

    work: str
    wanted: str
    figure: str
    judge: Judge


def at_most(work: str, figure: str, limit: float, unit: str, percent: int | None = None) -> Goal:
    """Return the goal that the median, or a percentile, of a figure is no more than a limit."""

    def judge(results: Results, place: str) -> Outcome | None:
        ours = summary_of(results, place, figure, OURS)
        if ours is None:
            return None
        value = ours.median if percent is None else ours.percentile(percent)
        return Outcome(f"{show_number(value)} {unit}", value <= limit)

    which = "" if percent is None else f"p{percent} "
    return Goal(work, f"{which}{show_number(limit)} {unit}", figure, judge)


def share_of_floor(work: str, figure: str, floor: str, share: float) -> Goal:
    """Return the goal that dirsync reaches this share of the speed of a floor."""

    def judge(results: Results, place: str) -> Outcome | None:
        ours, least = summary_of(results, place, figure, OURS), summary_of(results, place, figure, floor)
        if ours is None or least is None:
            return None
        reached = least.median / ours.median
        return Outcome(f"{reached:.2f} of it ({show_number(ours.median)} s)", reached >= share)

    return Goal(work, f"{share:g} of {floor}", figure, judge)


def ahead_of_peers(work: str, figure: str, only: tuple[str, ...] = PEERS) -> Goal:
    """Return the goal that dirsync takes less than each of these that was measured."""

    def judge(results: Results, place: str) -> Outcome | None:
        ours = summary_of(results, place, figure, OURS)
        others = [s for name in only if (s := summary_of(results, place, figure, name)) is not None]
        if ours is None or not others:
            return None
        return Outcome(f"{show_number(ours.median)} s", all(ours.median < other.median for other in others))

    return Goal(work, f"ahead of {', '.join(only) if only != PEERS else 'every peer'}", figure, judge)


def growth_at_most(work: str, small: str, large: str, more: int, limit: float) -> Goal:
    """Return the goal that a figure grows by no more than a limit for every 100,000 of the `more` files."""

    def judge(results: Results, place: str) -> Outcome | None:
        less, much = summary_of(results, place, small, OURS), summary_of(results, place, large, OURS)
        if less is None or much is None:
            return None
        growth = (much.median - less.median) * 100_000 / more
        return Outcome(f"{show_number(growth)} MiB", growth <= limit)

    return Goal(work, f"{show_number(limit)} MiB", large, judge)


GOALS = (
    *(at_most("one small change, A to B", "change.a_b", limit, "ms", p) for p, limit in ((50, 3), (99, 10))),
    *(at_most("one small change, B to A", "change.b_a", limit, "ms", p) for p, limit in ((50, 3), (99, 10))),
    at_most("one small change while 1 GiB is on its way", "busy.change", 50, "ms", 95),
    share_of_floor("first synchronisation, 10,000 small files", "first.10000", DurableCopy.name, 0.65),
    ahead_of_peers("- the same", "first.10000"),
    at_most("2,000 small files at once", "burst.one.2000", 0.15, "s"),
    at_most("- at both sides", "burst.both.2000", 0.28, "s"),
    share_of_floor("one file of 1 GiB", "large.new", Transport.name, 0.8),
    ahead_of_peers("- the same", "large.new", ("lsyncd",)),
    at_most("256 MiB in sync, 1 KiB inserted", "delta.insert", 0.4, "s"),
    at_most("- on the wire", "delta.insert.bytes", 60_000, "bytes"),
    at_most("256 MiB in sync, 1 MiB appended", "delta.append", 0.38, "s"),
    at_most("- on the wire", "delta.append.bytes", 1_110_000, "bytes"),
    at_most("256 MiB in sync, 100 places of 4 KiB overwritten", "delta.overwrite", 0.4, "s"),
    at_most("- on the wire", "delta.overwrite.bytes", 2_100_000, "bytes"),
    at_most("256 MiB renamed", "delta.rename", 0.05, "s"),
    at_most("- on the wire", "delta.rename.bytes", 4_000, "bytes"),
    at_most("touch of 1,000 files", "metadata.touch", 0.15, "s"),
    at_most("- on the wire", "metadata.touch.bytes", 100_000, "bytes"),
    at_most("chmod of 1,000 files", "metadata.chmod", 0.15, "s"),
    at_most("- on the wire", "metadata.chmod.bytes", 100_000, "bytes"),
    at_most("restart with 50,000 files, until live", "restart.50000", 0.6, "s"),
    at_most("first start with 50,000 equal files", "equal.50000", 3, "s"),
    at_most("idle with 10,000 files, both servers, of one core", "idle.cpu.10000", 0.4, "%"),
    at_most("- memory, both servers", "idle.memory.10000", 140, "MiB"),
    growth_at_most("- more for 100,000 more files", "idle.memory.10000", "idle.memory.100000", 90_000, 100),
    at_most("`lab3 ls`, 10,000 files, whole process", "list.10000", 60, "ms"),
    at_most("1,000 held updates applied, in order", "held.drain.1000", 1, "s"),
)


def goal_rows(results: Results, place: str) -> list[list[str]]:
    """Return the table of the goals at a place, the heading first; goals that were not measured there have no row."""
    others = [*PEERS, Copy.name, DurableCopy.name]
    rows = [["work", "goal", "measured", "reached", *others]]
    for goal in GOALS:
        outcome = goal.judge(results, place)
        if outcome is not None:
            row = [goal.work, goal.wanted, outcome.measured, "yes" if outcome.is_reached else "**no**"]
            ours = summary_of(results, place, goal.figure, OURS)
            rows.append([*row, *(_beside(ours, summary_of(results, place, goal.figure, name)) for name in others)])
    return rows


def _beside(ours: Summary | None, theirs: Summary | None) -> str:
    return show_ratio(ours, theirs) if theirs else ""
