"""Writes tables: for the terminal and, as Markdown, for docs/benchmarks.md. Measures nothing."""

from collections.abc import Sequence

from benchmarks.results import Figure, Results
from benchmarks.summary import Summary, ratio, summary_of
from benchmarks.tools import TOOLS

OURS = "dirsync"
_DIGITS = 3
_PERCENTILES = (50, 95, 99)


def show_number(value: float) -> str:
    """Write a number with three digits, as people write it."""
    if value >= 10**_DIGITS:
        return f"{value:,.0f}"
    digits = f"{value:.{_DIGITS}g}"
    return f"{float(digits):g}"


def show_summary(summary: Summary) -> str:
    """Write the median and the spread of the runs; of a distribution p50, p95 and p99 of all its values."""
    if summary.is_distribution:
        return " / ".join(show_number(summary.percentile(percent)) for percent in _PERCENTILES)
    if summary.runs == 1:
        return show_number(summary.median)
    return f"{show_number(summary.median)} [{show_number(summary.least)}..{show_number(summary.most)}]"


def show_ratio(ours: Summary | None, theirs: Summary) -> str:
    """Write how many times what we take the other takes; nothing where that says nothing."""
    factor = ratio(ours, theirs) if ours else None
    return f"{show_number(factor)}x" if factor else ""


def table(results: Results, place: str) -> list[list[str]]:
    """Return the rows of the table of a place, the heading first: a figure, then each tool that has it."""
    tools = [tool.name for tool in TOOLS if any((s.place, s.tool) == (place, tool.name) for s in results.samples)]
    rows = [["", "unit", *tools, "runs"]]
    for figure in results.figures.values():
        cells = _cells(results, place, figure, tools)
        if any(cells):
            title = f"{figure.title}, p50 / p95 / p99" if any("/" in cell for cell in cells) else figure.title
            rows.append([title, figure.unit, *cells, _runs(results, place, figure, tools)])
    return rows


def _cells(results: Results, place: str, figure: Figure, tools: Sequence[str]) -> list[str]:
    ours = summary_of(results, place, figure.key, OURS)
    cells = []
    for tool in tools:
        summary = summary_of(results, place, figure.key, tool)
        if summary is None:
            cells.append("")
        elif tool == OURS:
            cells.append(show_summary(summary))
        else:
            cells.append(f"{show_summary(summary)} {show_ratio(ours, summary)}".rstrip())
    return cells


def _runs(results: Results, place: str, figure: Figure, tools: Sequence[str]) -> str:
    """Say how many runs there were; where not the same for all, the least and the most."""
    counts = sorted({runs for tool in tools if (runs := len(results.runs(place, figure.key, tool)))})
    return "-".join(str(count) for count in (counts[0], counts[-1])[: len(counts)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as columns for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as a table of Markdown."""
    heading, *rest = rows
    lines = [heading, ["---"] * len(heading), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def terminal(results: Results) -> str:
    """Return the whole report for a terminal."""
    parts = [", ".join(f"{name} {value}" for name, value in results.machine.items())]
    parts.append(", ".join(f"{name} {version}" for name, version in results.tools.items()))
    for place, kind in results.places.items():
        parts.append(f"{place} ({kind}); median [least..most] of the runs; 2x: takes twice what dirsync takes")
        parts.append(aligned(table(results, place)))
    parts += [f"FAILED at {each.place}: {each.tool}, {each.work}: {each.reason}" for each in results.failures]
    return "\n\n".join(parts)
