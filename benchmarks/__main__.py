"""Compares dirsync with other tools: `make bench`, or `python -m benchmarks`.

Everything is made below temporary directories and removed again; what was measured is kept in a JSON file as it is
found. Several short runs can add to one result.
"""

import argparse
import contextlib
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.isolation import isolate
from benchmarks.machine import describe
from benchmarks.measuring import Comparison
from benchmarks.places import PLACES, PlaceMissing
from benchmarks.report import terminal
from benchmarks.results import Results, load
from benchmarks.scale import FULL, QUICK
from benchmarks.tools import TOOLS, Tool
from benchmarks.work import Work, works

RUNS = 5
RESULTS = Path("build/benchmarks.json")


def main(arguments: Sequence[str]) -> int:
    """Measure, report, and return the exit status: 1 if a tool failed at something, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    is_isolated = isolate(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scale_name = "quick" if options.quick else "full"
    results = load(options.results) if options.add or not options.runs else Results()
    if options.runs and results.machine.get("scale", scale_name) != scale_name:
        _say(f"{options.results} holds figures of another scale")
        return 2
    before = len(results.failures)
    scale = QUICK if options.quick else FULL
    chosen = [work for work in works(scale) if is_chosen(work.name, options.rows)]
    tools = _installed(results, options.peers)
    if options.runs:
        now = {**describe(is_isolated=is_isolated), "scale": scale_name}
        results.machine = {name: _with_before(results.machine.get(name, ""), value) for name, value in now.items()}
    try:
        for place in PLACES if options.runs else ():
            if is_chosen(place, options.places):
                _compare(place, chosen, tools, results, options)
    except KeyboardInterrupt:
        _say("interrupted; what was measured is kept")
        return 130
    finally:
        results.save(options.results)
        sys.stdout.write(f"\n{terminal(results)}\n\nkept in {options.results}\n")
    if options.write:
        # Only here: the plots need a library that measuring does without.
        from benchmarks.document import DOCUMENT, write  # noqa: PLC0415

        write(results)
        sys.stdout.write(f"written: {DOCUMENT}\n")
    return 1 if len(results.failures) > before else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare dirsync with other tools.")
    parser.add_argument("--rows", default="", help="only works with these names or first words, separated by commas")
    parser.add_argument("--peers", default="", help="only these tools; dirsync always")
    parser.add_argument("--places", default="", help=f"only these places: {', '.join(PLACES)}")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often; 0 only reports what the results hold")
    parser.add_argument("--quick", action="store_true", help="small works, to see that everything runs")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="the directory at hand")
    parser.add_argument(
        "--results", type=Path, default=Path("build/benchmarks.json"), help="where to keep what is found"
    )
    parser.add_argument("--add", action="store_true", help="add to the results that are there")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md, its plots and results.json")
    return parser


def _with_before(before: str, now: str) -> str:
    """Return what held for the runs before and holds for this one: figures of several commits or days say so."""
    known = before.split("; ") if before else []
    return "; ".join([*known, *([] if now in known else [now])])


def is_chosen(name: str, wanted: str) -> bool:
    """Say whether a name is wanted: all are where none is named; the first words of a name will do."""
    return not wanted or any(re.match(rf"{re.escape(word)}\b", name) for word in wanted.split(",") if word)


def _installed(results: Results, wanted: str) -> list[type[Tool]]:
    found = []
    for tool in TOOLS:
        if tool is not TOOLS[0] and not is_chosen(tool.name, wanted):
            continue
        version = tool.version()
        if version is None:
            _say(f"{tool.name} is not installed and left out")
            continue
        results.tools[tool.name] = version
        found.append(tool)
    return found


def _compare(
    name: str, chosen: Sequence[Work], tools: Sequence[type[Tool]], results: Results, options: argparse.Namespace
) -> None:
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(PLACES[name](options.directory))
        except PlaceMissing as error:
            _say(f"{name} is left out: {error}")
            return
        comparison = Comparison(place, QUICK if options.quick else FULL, results, _say)
        for number in range(options.runs):
            comparison.run(chosen, tools, number)
            results.save(options.results)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
