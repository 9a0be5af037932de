"""Draws what tables do not show: the distribution of latencies, throughput, and the cost of one file as trees grow.

matplotlib is imported when something is drawn: measuring does without.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import OURS
from benchmarks.results import Results
from benchmarks.summary import summary_of
from benchmarks.tools import TOOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFERRED_PLACES = ("ext4", "here", "tmpfs")
SIZE_INCHES = (7.0, 3.4)
_COLOURS = ("#c1121f", "#1d6fb8", "#2a9d8f", "#e9a03b", "#7b4fa3", "#8a8a8a", "#4a4a4a", "#b0b0b0")
COLOURS = {tool.name: colour for tool, colour in zip(TOOLS, _COLOURS, strict=True)}


def draw_all(results: Results, folder: Path) -> dict[str, Path]:
    """Draw every plot for which something was measured; return the files by their titles.

    Raises:
        ImportError: matplotlib is not installed (`pip install dirsync[bench]`).

    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    # The same results give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "dirsync", "svg.fonttype": "none", "font.size": 8})
    place = next((name for name in PREFERRED_PLACES if name in results.places), "")
    drawn = {}
    for name, (title, fill) in _PLOTS.items():
        path = folder / f"{name}.svg"
        if _draw(path, f"{title}\n{results.places.get(place, '')}", results, place, fill):
            drawn[title] = path
    return drawn


def _draw(path: Path, title: str, results: Results, place: str, fill: "Fill") -> bool:
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    has_something = fill(results, place, axes)
    if has_something:
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return has_something


def _fill_latencies(results: Results, place: str, axes: "Axes") -> bool:
    styles = {"change.a_b": ("-", ""), "busy.change": (":", ", during a large transfer")}
    for figure, (style, words) in styles.items():
        for tool, colour in COLOURS.items():
            summary = summary_of(results, place, figure, tool)
            if summary:
                count = len(summary.pooled)
                percents = [100 * (number + 1) / count for number in range(count)]
                axes.step(summary.pooled, percents, style, color=colour, label=f"{tool}{words}", where="post")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, from the return of the write until it is visible at the other side")
    axes.set_ylabel("% of changes")
    return _with_legend(axes)


def _fill_throughput(results: Results, place: str, axes: "Axes") -> bool:
    counts = _counts(results)
    shown = [count for count in counts if summary_of(results, place, f"first.{count}", "rsync")]
    tools = [tool for tool in COLOURS if any(summary_of(results, place, f"first.{count}", tool) for count in shown)]
    width = 0.8 / max(1, len(tools))
    for number, tool in enumerate(tools):
        found = [(at, count, summary_of(results, place, f"first.{count}", tool)) for at, count in enumerate(shown)]
        bars = [(at + number * width, count / summary.median) for at, count, summary in found if summary]
        axes.bar([at for at, _ in bars], [rate for _, rate in bars], width, color=COLOURS[tool], label=tool)
    axes.set_xticks([at + 0.4 for at in range(len(shown))], [f"{count:,} files" for count in shown])
    axes.set_ylabel("files per second")
    return _with_legend(axes)


def _fill_growth(results: Results, place: str, axes: "Axes") -> bool:
    counts = _counts(results)
    for tool, colour in COLOURS.items():
        found = [(count, summary_of(results, place, f"first.{count}", tool)) for count in counts]
        points = [(count, summary.median * 1e6 / count) for count, summary in found if summary]
        if len(points) > 1:
            line = "o-" if tool == OURS else ".-"
            axes.plot([count for count, _ in points], [cost for _, cost in points], line, color=colour, label=tool)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("files in the tree")
    axes.set_ylabel("microseconds per file")
    return _with_legend(axes)


def _counts(results: Results) -> list[int]:
    return sorted(int(key.removeprefix("first.")) for key in results.figures if key.startswith("first."))


def _with_legend(axes: "Axes") -> bool:
    has_something = bool(axes.get_legend_handles_labels()[1])
    if has_something:
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return has_something


Fill = Callable[[Results, str, "Axes"], bool]
_PLOTS: dict[str, tuple[str, Fill]] = {
    "latency": ("One small change, A to B: distribution of latencies", _fill_latencies),
    "throughput": ("First synchronisation of small files: throughput", _fill_throughput),
    "growth": ("First synchronisation: cost of one file as the tree grows", _fill_growth),
}
