"""From disagreeing paths to actions, trees considered.

`reconcile` decides each path by itself; this file adds what only holds for a tree: a survivor keeps its parents,
a directory goes last, a file that only changed its name is renamed. Decides order, never direction.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from dirsync.core.entry import Digest, Directory, Entry, File, Observed, Problem, Role, Symlink, Untracked
from dirsync.core.paths import RelPath, ancestors
from dirsync.core.reconcile import Outcome, reconcile
from dirsync.core.views import Views


class Action(NamedTuple):
    """One decided step at one replica: what must be there now, and what shall be.

    With `renamed_from` the entry is to come from that path, where `expected_source` stands.
    """

    path: RelPath
    expected: Entry | None
    intended: Entry | None
    is_conflict: bool = False
    renamed_from: RelPath | None = None
    expected_source: File | None = None


Arrival = tuple[Role, Digest]
"""A content that waits to stand at a replica under another name."""


class Reason(Enum):
    """Why a path is left for later."""

    PARENT = "its directory is being worked on"
    CHILDREN = "something in this directory stays for now"
    PROBLEM = "it cannot be read"
    UNTRACKED = "something that is not synchronised stands there"


@dataclass(slots=True)
class Plan:
    """Actions per replica in the order of their application; agreed entries to record; paths left, and why.

    `hindered` has the path in the way of each that is left for a reason of the tree: nothing changes before that does.
    `arriving` has it by replica and content, where a file waits for a directory that may be touched soon.
    """

    actions: dict[Role, list[Action]] = field(default_factory=lambda: {Role.A: [], Role.B: []})
    agreed: list[tuple[RelPath, Entry | None]] = field(default_factory=list)
    left: dict[RelPath, Reason] = field(default_factory=dict)
    hindered: dict[RelPath, RelPath] = field(default_factory=dict)
    arriving: dict[Arrival, RelPath] = field(default_factory=dict)

    def leave(self, path: RelPath, reason: Reason, hindrance: RelPath) -> None:
        """Leave a path until something becomes of `hindrance`."""
        self.left[path] = reason
        self.hindered[path] = hindrance


def _never(_path: RelPath) -> bool:
    return False


def plan(
    views: Views,
    paths: Iterable[RelPath],
    is_free: Callable[[RelPath], bool],
    is_lasting: Callable[[RelPath], bool] = _never,
    arriving: Mapping[Arrival, RelPath] = MappingProxyType({}),
) -> Plan:
    """Plan the given paths, and the directories they need.

    `is_free` says whether a path may be acted upon now; one that may not (held, failed, or in work) blocks only what
    depends on it. `is_lasting` says that this may last (held, or failed): what lies in such a directory does not wait
    where one stands at both sides, and nothing waits only to be renamed into it. `arriving` is what plans before this
    one left, and still waits.
    """
    result = Plan()
    outcomes: dict[RelPath, Outcome] = {}
    for path in paths:
        if is_free(path):
            _decide(views, path, outcomes, result)
    for path in [p for p, outcome in outcomes.items() if outcome.entry is not None]:
        above = _keep_parents(views, path, outcomes, is_free, is_lasting, result)
        if above is not None:
            result.leave(path, Reason.PARENT, above)
    _keep_sources(views, outcomes, is_lasting, arriving, result)
    for path in sorted(outcomes, key=_depth, reverse=True):
        child = None if path in result.left else _child_in_the_way(views, path, outcomes, result)
        if child is not None:
            result.leave(path, Reason.CHILDREN, child)
    for path, outcome in outcomes.items():
        if path not in result.left:
            _act(views, path, outcome, result)
    for role in Role:
        result.actions[role] = _ordered(_with_renames(result.actions[role]))
    return result


def _decide(views: Views, path: RelPath, outcomes: dict[RelPath, Outcome], result: Plan) -> None:
    a, b = views.get(Role.A, path), views.get(Role.B, path)
    if isinstance(a, Problem) or isinstance(b, Problem):
        result.left[path] = Reason.PROBLEM
    elif isinstance(a, Untracked) or isinstance(b, Untracked):
        result.left[path] = Reason.UNTRACKED
    else:
        outcomes[path] = reconcile(views.base.get(path), a, b)


def _keep_parents(
    views: Views,
    path: RelPath,
    outcomes: dict[RelPath, Outcome],
    is_free: Callable[[RelPath], bool],
    is_lasting: Callable[[RelPath], bool],
    result: Plan,
) -> RelPath | None:
    """Make every directory above a surviving path survive too; return one that cannot be touched now.

    What is held or has failed is not touched, and need not be where a directory stands at both sides.
    """
    needed: list[RelPath] = []
    for above in ancestors(path):
        a, b = views.get(Role.A, above), views.get(Role.B, above)
        if above not in outcomes and (is_free(above) or is_lasting(above)):
            if isinstance(a, Directory) and isinstance(b, Directory):
                return None
            if is_free(above):
                _decide(views, above, outcomes, result)
        if above not in outcomes:
            # The directories between are left too: they would stand on what cannot be touched.
            for between in needed:
                result.leave(between, Reason.PARENT, above)
            return above
        if not isinstance(outcomes[above].entry, Directory):
            outcomes[above] = _as_directory(views.base.get(above), a, b)
        needed.append(above)
    return None


def _keep_sources(
    views: Views,
    outcomes: dict[RelPath, Outcome],
    is_lasting: Callable[[RelPath], bool],
    earlier: Mapping[Arrival, RelPath],
    result: Plan,
) -> None:
    """Leave what goes while its content waits for a directory under another name: together they are one rename."""
    for path, outcome in outcomes.items():
        in_the_way = result.hindered.get(path)
        if in_the_way is None or in_the_way in result.left or any(map(is_lasting, ancestors(path))):
            continue
        if isinstance(outcome.entry, File):
            absent = [role for role in Role if views.get(role, path) is None]
            result.arriving |= dict.fromkeys([(role, outcome.entry.digest) for role in absent], in_the_way)
    if not (result.arriving or earlier):
        return
    for path, outcome in outcomes.items():
        held = {role: views.get(role, path) for role in Role} if outcome.entry is None else {}
        for content in [(role, found.digest) for role, found in held.items() if isinstance(found, File)]:
            in_the_way = result.arriving.get(content) or earlier.get(content)
            if in_the_way is not None and not is_lasting(in_the_way):
                result.leave(path, Reason.PARENT, in_the_way)


def _as_directory(base: Entry | None, a: Observed, b: Observed) -> Outcome:
    """Keep, or bring back, a directory that something below needs; what stood in its place is a conflict."""
    loser = next((role for role, found in ((Role.A, a), (Role.B, b)) if isinstance(found, File | Symlink)), None)
    for known in (a, b, base):
        if isinstance(known, Directory):
            return Outcome(known, loser)
    return Outcome(Directory(0o755), loser)


def _child_in_the_way(views: Views, path: RelPath, outcomes: dict[RelPath, Outcome], result: Plan) -> RelPath | None:
    """Return what keeps a directory that goes at either side from being empty by then; None where nothing does."""
    if isinstance(outcomes[path].entry, Directory):
        return None
    for role in Role:
        if isinstance(views.get(role, path), Directory):
            for child in views.children(role, path):
                if child in result.left or child not in outcomes or outcomes[child].entry is not None:
                    return child
    return None


def _act(views: Views, path: RelPath, outcome: Outcome, result: Plan) -> None:
    acted = False
    for role in (Role.A, Role.B):
        present = views.get(role, path)
        assert not isinstance(present, Untracked | Problem)
        if present != outcome.entry:
            acted = True
            result.actions[role].append(Action(path, present, outcome.entry, outcome.loser is role))
    if not acted:
        result.agreed.append((path, outcome.entry))


def _with_renames(actions: list[Action]) -> list[Action]:
    """Turn a deletion and an addition of the same content into one rename."""
    vanished: dict[Digest, list[Action]] = {}
    for action in actions:
        if action.intended is None and isinstance(action.expected, File):
            vanished.setdefault(action.expected.digest, []).append(action)
    if not vanished:
        return actions
    sources: set[RelPath] = set()
    result: list[Action] = []
    for action in actions:
        if action.expected is None and isinstance(action.intended, File) and vanished.get(action.intended.digest):
            source = vanished[action.intended.digest].pop()
            sources.add(source.path)
            assert isinstance(source.expected, File)
            result.append(
                Action(action.path, None, action.intended, renamed_from=source.path, expected_source=source.expected)
            )
        else:
            result.append(action)
    return [action for action in result if action.path not in sources]


class _Phase(Enum):
    """The order within one replica; each phase makes room for the next."""

    DIRECTORIES = 0
    RENAMES = 1
    FILE_DELETIONS = 2
    DIRECTORY_DELETIONS = 3
    CONTENTS = 4


def _phase(action: Action) -> _Phase:
    if action.renamed_from is not None:
        return _Phase.RENAMES
    if isinstance(action.intended, Directory):
        return _Phase.DIRECTORIES
    if action.intended is None:
        return _Phase.DIRECTORY_DELETIONS if isinstance(action.expected, Directory) else _Phase.FILE_DELETIONS
    return _Phase.CONTENTS


def _depth(path: RelPath) -> int:
    return path.count(b"/")


def _ordered(actions: list[Action]) -> list[Action]:
    """Parents before children where things are made, children before parents where they go."""

    def key(action: Action) -> tuple[int, int, bytes]:
        phase = _phase(action)
        depth = _depth(action.path)
        return phase.value, -depth if phase is _Phase.DIRECTORY_DELETIONS else depth, action.path

    return sorted(actions, key=key)
