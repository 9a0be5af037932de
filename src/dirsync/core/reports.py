"""What replicas say and are told: the values of the replica contract (`dirsync.replica.interface`).

They are plain values, so they live here, below both the wire that carries them and the replicas that use them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dirsync.core.entry import Digest, Entry, File, Observed, Problem
from dirsync.core.listing import Standing
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action


@dataclass(frozen=True, slots=True)
class Change:
    """A settled state, different from the one last reported.

    `content` rides along where the file is small and the other side probably lacks it. `capture` is not 0 where the
    name is held: the number under which this state's content is kept until it is released; DROPPED is found where it
    is not kept any more. `age_ms` is the time from detection to this report. `serial` counts what the replica had
    reported by then, across snapshots. `given` is not 0 where this is no edit but what an apply gave to a held name,
    told because the other side may not know that it was done: the number of the held update, done like all before it.
    """

    path: RelPath
    found: Observed
    content: bytes | None = None
    capture: int = 0
    age_ms: float = 0.0
    serial: int = field(default=0, compare=False)
    given: int = 0


DROPPED = Problem("the name is not held any more")
"""What a capture found that was dropped before it could be told: it says nothing about the path."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The root is not to be trusted any more: nothing is reported, nothing can be applied, until Back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """The root is there again. `is_new`: it is another one, or lost its files, so nothing in it is a deletion."""

    is_new: bool


Report = Change | Lost | Back


def without_superseded(reports: Sequence[Report]) -> Sequence[Report]:
    """Return the reports without the changes that came beside the word that the root is back.

    The snapshot that is taken then is newer than they are; captures are reported again after it.
    """
    if not any(isinstance(report, Back) for report in reports):
        return reports
    return [report for report in reports if not isinstance(report, Change)]


@dataclass(frozen=True, slots=True)
class Look:
    """What a replica knows after it has looked: everything seen before the call has been reported as a Change.

    `unsettled` are paths seen to be changing, with what a listing may show of them (None: not a file or link).
    `files` counts the files and links, `size` their bytes. `reported` counts the reports made since the last snapshot
    ended: whoever has taken that many has taken in everything this look saw. `found_by_scan` counts the changes since
    the start that no watcher had hinted at.
    """

    unsettled: tuple[tuple[RelPath, Standing | None], ...]
    files: int
    size: int
    reported: int
    found_by_scan: int = 0


@dataclass(frozen=True, slots=True)
class ContentAt:
    """Content as it stands at a path; it must still be this file."""

    path: RelPath
    entry: File


@dataclass(frozen=True, slots=True)
class ContentOfCapture:
    """Content of a captured state."""

    capture: int
    entry: File


@dataclass(frozen=True, slots=True)
class ContentOfVersion:
    """Content of a kept version."""

    version: str
    entry: File


ContentRef = ContentAt | ContentOfCapture | ContentOfVersion


class Step(NamedTuple):
    """An action as it is handed to a replica, with the content if it rides along.

    `update` is the number of the held update that it applies, 0 where it applies none.
    """

    action: Action
    content: bytes | None = None
    update: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """The step was done and is durable, so what was intended stands there; `now_standing` tells the one exception.

    Of the reports about the path, those with a larger serial than this one were made after it, the others before: they
    may come later. `kept` is the id of the version that was set aside, if one was. `is_renamed` where it was done as
    one rename; `is_as_it_was` where the renamed file kept its time and bits, because it has other names too.
    """

    serial: int = field(default=0, compare=False)
    kept: str | None = None
    is_renamed: bool = False
    is_as_it_was: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done: something else than expected stands there. For a rename `found_source` is what stands at its source.

    `serial` is as that of Applied.
    """

    found: Observed
    found_source: Observed = None
    serial: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Missing:
    """Not done: the content is neither in the step nor in this replica."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Failed:
    """Not done: the file system said no; a later try may help.

    `is_passing`: what somebody is doing at this moment hinders it, so it is nothing to tell people unless it goes on.
    """

    reason: str
    is_passing: bool = False


Result = Applied | Refused | Missing | Failed


def now_standing(action: Action, applied: Applied) -> Entry | None:
    """Return what stands at the path of an action that was done."""
    return action.expected_source if applied.is_as_it_was else action.intended


@dataclass(frozen=True, slots=True)
class HeldName:
    """A locked name and the last state that was recorded of it from this replica."""

    path: RelPath
    seen: Entry | None
