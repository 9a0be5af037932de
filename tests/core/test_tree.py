"""Tree against a plain dict."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dirsync.core.paths import ROOT, RelPath, is_below, parent
from dirsync.core.tree import Tree
from tests.support.trees import PATHS

ANY_PATH = st.sampled_from(PATHS)


class TreeMachine(RuleBasedStateMachine):
    """Values come and go in any order, so also without their parents."""

    def __init__(self) -> None:
        super().__init__()
        self.tree: Tree[int] = Tree()
        self.model: dict[RelPath, int] = {}

    @rule(path=ANY_PATH, value=st.integers(0, 3))
    def set(self, path: RelPath, value: int) -> None:
        self.tree.set(path, value)
        self.model[path] = value

    @rule(path=ANY_PATH)
    def discard(self, path: RelPath) -> None:
        assert self.tree.discard(path) == self.model.pop(path, None)

    @invariant()
    def mappings_agree(self) -> None:
        assert dict(self.tree.items()) == self.model
        assert set(self.tree) == set(self.model)
        assert len(self.tree) == len(self.model)
        for path in PATHS:
            assert self.tree.get(path) == self.model.get(path)
            assert (path in self.tree) == (path in self.model)

    @invariant()
    def children_agree(self) -> None:
        for directory in (ROOT, *PATHS):
            assert self.tree.children(directory) == {path for path in self.model if parent(path) == directory}

    @invariant()
    def descendants_agree(self) -> None:
        for directory in (ROOT, *PATHS):
            found = list(self.tree.descendants(directory))
            assert len(found) == len(set(found))
            assert set(found) == {path for path in self.model if is_below(path, directory)}
            for number, path in enumerate(found):
                assert not any(is_below(path, later) for later in found[number:])


TestTree = TreeMachine.TestCase


def test_nothing_is_left_behind() -> None:
    """A tree that lives for months must not grow with the names that came and went."""
    tree: Tree[int] = Tree()
    for path in PATHS:
        tree.set(path, 1)
    for path in PATHS:
        tree.discard(path)
    assert not tree._children


def test_children_are_a_copy() -> None:
    tree: Tree[int] = Tree()
    tree.set(PATHS[0], 1)
    before = tree.children(ROOT)
    tree.set(PATHS[1], 1)
    assert before == {PATHS[0]}
