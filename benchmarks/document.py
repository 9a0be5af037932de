"""Writes docs/benchmarks.md and its plots from results, and from the remarks that a person writes in remarks.md."""

from pathlib import Path

from benchmarks.goals import goal_rows
from benchmarks.plots import draw_all
from benchmarks.report import markdown, table
from benchmarks.results import Results

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "plots"
RESULTS = ROOT / "benchmarks" / "results.json"
REMARKS = ROOT / "benchmarks" / "remarks.md"

_INTRODUCTION = """\
# Figures

Written by `make bench WRITE=1` from [benchmarks/results.json](../benchmarks/results.json); not edited by hand. dirsync
and other tools do the same work on the same machine in the same minutes, in turn, each on a fresh pair of directories.
dirsync runs in its default configuration: TLS, BLAKE3, archive, durable before visible. Both sides are on one machine
and talk over the loopback. What counts is the disk: the clock stops when every name at the other side has its size,
time and mode; then both trees are compared byte by byte. No tool's word is taken.

- Less is better in every figure. `2x` behind a figure: it takes twice what dirsync takes; below 1 it is ahead of it.
- A figure is the median of its runs, with the least and the most; a distribution is shown by p50, p95 and p99 of all
  its values. A column says how many runs there were.
- A first synchronisation and a restart run from the start of the tool's processes (both servers of dirsync; of rsync,
  lsyncd and unison the daemon at the far side stands ready).
- rsync is started by hand after each change and counts until it has ended; lsyncd is one way; both have TCP_NODELAY.
  The watcher of syncthing waits a second, its least. `cp -a`, `write+sync+rename` (256 files to a sync) and `bare TLS`
  (memory to nowhere) are what the machine can do; nobody would synchronise with them.
- On tmpfs nobody ever syncs. On an ext4 without journal, creating files after many were deleted is slow for minutes,
  whoever does it.
"""


def write(results: Results) -> None:
    """Write the results, the plots and the document."""
    results.save(RESULTS)
    PLOTS.mkdir(exist_ok=True)
    plots = draw_all(results, PLOTS)
    DOCUMENT.write_text(_document(results, plots), encoding="utf-8")


def _document(results: Results, plots: dict[str, Path]) -> str:
    parts = [_INTRODUCTION]
    parts.append("\n".join(f"- {name}: {value}" for name, value in results.machine.items()))
    parts.append("- tools: " + ", ".join(f"{name} {version}" for name, version in results.tools.items()))
    for place, kind in results.places.items():
        rows = goal_rows(results, place)
        if len(rows) > 1:
            parts += [f"## Goals on {title_of(place, kind)}", markdown(rows)]
    if REMARKS.exists():
        parts.append(REMARKS.read_text(encoding="utf-8"))
    parts += [f"![{title}]({path.relative_to(DOCUMENT.parent)})" for title, path in plots.items()]
    for place, kind in results.places.items():
        rows = table(results, place)
        if len(rows) > 1:
            parts += [f"## All figures on {title_of(place, kind)}", markdown(rows)]
    if results.failures:
        failed = [f"- {each.place}, {each.work}, {each.tool}: {each.reason}" for each in results.failures]
        parts += ["## What failed", "\n".join(failed)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def title_of(place: str, kind: str) -> str:
    """Return what a place is called in a heading."""
    return f"{kind}: never synced" if place == "tmpfs" else kind
