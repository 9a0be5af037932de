"""Owns what the values of the replica contract weigh in a message: an upper estimate in bytes, for cutting batches."""

from dirsync.core.entry import Observed, Problem, Symlink, Untracked
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Change, ContentAt, ContentRef, HeldName, Report, Step

_FIXED = 160
"""Of any value with its digests, numbers and framing."""


def weight_of_entry(entry: Observed) -> int:
    """Return the weight of what stands at a path."""
    match entry:
        case Symlink():
            return _FIXED + len(entry.target)
        case Untracked() | Problem():
            return _FIXED + 4 * len(entry.reason)
        case _:
            return _FIXED


def weight_of_row(row: tuple[RelPath, Observed]) -> int:
    """Return the weight of a row of a snapshot."""
    return len(row[0]) + weight_of_entry(row[1])


def weight_of_report(report: Report) -> int:
    """Return the weight of a report with its content."""
    if isinstance(report, Change):
        return _FIXED + len(report.path) + weight_of_entry(report.found) + len(report.content or b"")
    return _FIXED


def weight_of_action(action: Action) -> int:
    """Return the weight of a step without its content."""
    entries = weight_of_entry(action.expected) + weight_of_entry(action.intended)
    names = len(action.path) + len(action.renamed_from or b"")
    return 2 * _FIXED + entries + names


def weight_of_step(step: Step) -> int:
    """Return the weight of a step with its content."""
    return weight_of_action(step.action) + len(step.content or b"")


def weight_of_ref(ref: ContentRef) -> int:
    """Return the weight of a content, asked for and answered."""
    return _FIXED + ref.entry.size + (len(ref.path) if isinstance(ref, ContentAt) else 0)


def weight_of_name(name: HeldName) -> int:
    """Return the weight of a held name."""
    return len(name.path) + weight_of_entry(name.seen)
