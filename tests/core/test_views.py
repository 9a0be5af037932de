"""Views against three plain dicts."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dirsync.core.entry import Entry, Observed, Problem, Role, Untracked
from dirsync.core.paths import ROOT, RelPath, parent
from dirsync.core.views import Views
from tests.support.trees import at, directory, file, link

PATHS = [at(text) for text in ("x", "y", "d", "d/x", "d/e", "d/e/x")]
ENTRIES = [file("1"), file("2"), directory(), link("t")]
OBSERVED = [*ENTRIES, None, Problem("unreadable"), Untracked("a FIFO")]


class ViewsMachine(RuleBasedStateMachine):
    """The model keeps base, a and b whole; Views keep the base and two differences."""

    def __init__(self) -> None:
        super().__init__()
        self.views = Views()
        self.base: dict[RelPath, Entry | None] = dict.fromkeys(PATHS)
        self.present: dict[Role, dict[RelPath, Observed]] = {role: dict.fromkeys(PATHS) for role in Role}

    @rule(role=st.sampled_from(Role), path=st.sampled_from(PATHS), found=st.sampled_from(OBSERVED))
    def observe(self, role: Role, path: RelPath, found: Observed) -> None:
        self.views.observe(role, path, found)
        self.present[role][path] = found

    @rule(path=st.sampled_from(PATHS), entry=st.sampled_from([*ENTRIES, None]))
    def agree(self, path: RelPath, entry: Entry | None) -> None:
        self.views.agree(path, entry)
        self.base[path] = entry
        for present in self.present.values():
            present[path] = entry

    @rule(path=st.sampled_from(PATHS), entry=st.sampled_from([*ENTRIES, None]))
    def record(self, path: RelPath, entry: Entry | None) -> None:
        self.views.record(path, entry)
        self.base[path] = entry

    @rule(role=st.sampled_from(Role))
    def forget(self, role: Role) -> None:
        self.views.forget(role)
        self.present[role] = dict(self.base)

    def is_open(self, path: RelPath) -> bool:
        base, a, b = self.base[path], self.present[Role.A][path], self.present[Role.B][path]
        if base is None and all(found is None or isinstance(found, Untracked) for found in (a, b)):
            return False
        return not a == b == base

    @invariant()
    def entries_agree(self) -> None:
        for path in PATHS:
            assert self.views.base.get(path) == self.base[path]
            for role in Role:
                assert self.views.get(role, path) == self.present[role][path]

    @invariant()
    def open_paths_agree(self) -> None:
        expected = {path for path in PATHS if self.is_open(path)}
        assert self.views.open_paths == expected
        assert self.views.open_count == len(expected)
        assert {path for path in PATHS if self.views.is_open(path)} == expected

    @invariant()
    def news_are_what_is_not_unchanged(self) -> None:
        rows = [(path, found) for path in PATHS for found in OBSERVED]
        assert list(self.views.news(rows)) == [row for row in rows if not self.views.is_unchanged(*row)]

    @invariant()
    def children_agree(self) -> None:
        for directory_path in (ROOT, *PATHS):
            for role in Role:
                standing = {p for p in PATHS if parent(p) == directory_path and self.present[role][p] is not None}
                assert self.views.children(role, directory_path) == standing

    @invariant()
    def paths_agree(self) -> None:
        everywhere = (self.base, *self.present.values())
        assert self.views.paths() == {path for path in PATHS if any(known[path] is not None for known in everywhere)}

    @invariant()
    def files_agree(self) -> None:
        kinds = (type(file("1")), type(link("t")))
        standing = [p for p in PATHS if any(isinstance(self.present[role][p], kinds) for role in Role)]
        in_base = sum(isinstance(entry, kinds) for _, entry in self.views.base.items())
        assert self.views.count_files(in_base) == len(standing)


TestViews = ViewsMachine.TestCase


def test_equal_trees_cost_one() -> None:
    views = Views()
    for role in Role:
        views.observe(role, at("f"), file("1"))
    views.record(at("f"), file("1"))
    assert views.get(Role.A, at("f")) is views.get(Role.B, at("f")) is views.base.get(at("f"))


def test_nothing_known_is_in_sync() -> None:
    assert Views().open_count == 0


def test_untracked_on_one_side_is_in_sync_until_the_other_has_a_file_there() -> None:
    views = Views()
    views.observe(Role.A, at("f"), Untracked("a FIFO"))
    assert not views.is_open(at("f"))
    views.observe(Role.B, at("f"), file("1"))
    assert views.is_open(at("f"))


def test_problem_on_both_sides_is_never_in_sync() -> None:
    views = Views()
    for role in Role:
        views.observe(role, at("f"), Problem("unreadable"))
    assert views.is_open(at("f"))


def test_open_paths_are_a_copy() -> None:
    views = Views()
    views.observe(Role.A, at("f"), file("1"))
    before = views.open_paths
    views.observe(Role.A, at("f"), None)
    assert before == {at("f")}
