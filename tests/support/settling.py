"""Plan and apply between two model directories until nothing is open, and notice every broken promise on the way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dirsync.core.entry import Entry, Problem, Role, Untracked
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action, Plan, Reason, plan
from dirsync.core.views import Views
from tests.support.trees import Entries, ModelDirectory


def everything(_path: RelPath) -> bool:
    """Every path may be acted upon."""
    return True


@dataclass(slots=True)
class Pair:
    """Two directories, what is known about them, and every action that was done."""

    views: Views
    disks: dict[Role, ModelDirectory]
    done: list[tuple[Role, Action]] = field(default_factory=list)
    left: dict[RelPath, Reason] = field(default_factory=dict)

    def observe(self, role: Role, paths: Iterable[RelPath]) -> None:
        """Look at the paths of a replica."""
        for path in paths:
            self.views.observe(role, path, self.disks[role].get(path))

    def plan(self, paths: Iterable[RelPath], is_free: Callable[[RelPath], bool] = everything) -> Plan:
        """Plan the paths."""
        made = plan(self.views, paths, is_free)
        self.left = made.left
        return made

    def execute(self, made: Plan) -> None:
        """Do a plan. Raises GuardError where an action cannot be done."""
        for role, actions in made.actions.items():
            for action in actions:
                self.disks[role].apply(action)
                self.done.append((role, action))
        self.fold(made)

    def fold(self, made: Plan) -> None:
        """Look at what the plan touched, and advance the base where both replicas hold the same."""
        for role, actions in made.actions.items():
            for action in actions:
                self.observe(role, [action.path] if action.renamed_from is None else [action.path, action.renamed_from])
        touched = {path for path, _ in made.agreed}
        for actions in made.actions.values():
            touched.update(action.path for action in actions)
            touched.update(action.renamed_from for action in actions if action.renamed_from is not None)
        for path in touched:
            a, b = (self.views.get(role, path) for role in Role)
            if a == b and not isinstance(a, Untracked | Problem):
                self.views.record(path, a)

    def cycle(self, paths: Iterable[RelPath] | None = None, is_free: Callable[[RelPath], bool] = everything) -> Plan:
        """Plan and do the paths, by default all that are open; return the plan."""
        made = self.plan(sorted(self.views.open_paths) if paths is None else paths, is_free)
        self.execute(made)
        return made

    def settle(self, is_free: Callable[[RelPath], bool] = everything, cycles_max: int = 4) -> None:
        """Repeat until a cycle finds nothing to do."""
        for _ in range(cycles_max):
            made = self.cycle(is_free=is_free)
            if not any(made.actions.values()) and not made.agreed:
                return
        raise AssertionError(f"still busy after {cycles_max} cycles: {made}")

    @property
    def losers(self) -> set[tuple[Role, RelPath]]:
        """Whose content was set aside, and where."""
        return {(role, action.path) for role, action in self.done if action.is_conflict}

    def actions(self, role: Role) -> list[Action]:
        """Return what was done at one replica."""
        return [action for at, action in self.done if at is role]


def pair(base: Mapping[RelPath, Entry], a: Entries, b: Entries) -> Pair:
    """Return two replicas that once agreed on `base` and were looked at just now."""
    result = Pair(Views(), {Role.A: ModelDirectory(a), Role.B: ModelDirectory(b)})
    for path, entry in base.items():
        result.views.record(path, entry)
    for role in Role:
        result.observe(role, {*base, *a, *b})
    return result
