"""What was measured, as values and as a JSON file that several runs can add to."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that can be measured. Less is better, always."""

    key: str
    title: str
    unit: str
    """`s`, `ms`, `bytes`, `MiB`, `%` or `calls`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one tool in one run: a value, or all of a distribution."""

    place: str
    figure: str
    tool: str
    values: list[float]


@dataclass(frozen=True, slots=True)
class Failure:
    """A work that a tool did not do."""

    place: str
    work: str
    tool: str
    reason: str


@dataclass(slots=True)
class Results:
    """Everything that was measured, and where."""

    machine: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """The file system of each."""
    tools: dict[str, str] = field(default_factory=dict)
    """The version of each."""
    figures: dict[str, Figure] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, place: str, figure: Figure, tool: str, values: Iterable[float]) -> None:
        """Add what a run has found."""
        self.figures[figure.key] = figure
        self.samples.append(Sample(place, figure.key, tool, [round(value, 6) for value in values]))

    def runs(self, place: str, figure: str, tool: str) -> list[list[float]]:
        """Return the values of each run."""
        return [s.values for s in self.samples if (s.place, s.figure, s.tool) == (place, figure, tool)]

    def save(self, path: Path) -> None:
        """Write all as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        parts = {
            "machine": self.machine,
            "places": self.places,
            "tools": self.tools,
            "figures": [asdict(figure) for figure in self.figures.values()],
            "samples": [asdict(sample) for sample in self.samples],
            "failures": [asdict(failure) for failure in self.failures],
        }
        lines = []
        for name, part in parts.items():
            if isinstance(part, list):
                rows = ",\n  ".join(json.dumps(row) for row in part)
                lines.append(f'"{name}": [\n  {rows}\n]' if part else f'"{name}": []')
            else:
                lines.append(f'"{name}": {json.dumps(part, indent=2)}')
        beside.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        beside.replace(path)


def load(path: Path) -> Results:
    """Read what `save` has written; nothing measured yet if there is no such file."""
    if not path.exists():
        return Results()
    parts = json.loads(path.read_text())
    figures = [Figure(**each) for each in parts["figures"]]
    return Results(
        machine=parts["machine"],
        places=parts["places"],
        tools=parts["tools"],
        figures={figure.key: figure for figure in figures},
        samples=[Sample(**each) for each in parts["samples"]],
        failures=[Failure(**each) for each in parts["failures"]],
    )
