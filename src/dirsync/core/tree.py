"""A tree of values by path, with the children of each directory at hand."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from dirsync.core.emptied import give_back_if_empty
from dirsync.core.paths import RelPath, parent

V = TypeVar("V")


class Tree(Generic[V]):
    """A mapping from path to value that also answers what lies in a directory, at any depth.

    Values come in any order: what lies in a directory is found whether or not that directory itself has a value.
    Invariant: `_children` leads from ROOT to every path with a value, and to nothing else. Its values are dicts because
    a set of a few paths takes three times the room.
    """

    __slots__ = ("_children", "_values", "get")

    get: Callable[[RelPath], V | None]
    """Return the value at a path, or None. The dictionary's own method: nothing is called as often."""

    def __init__(self, rows: Iterable[tuple[RelPath, V]] = ()) -> None:
        self._values: dict[RelPath, V] = dict(rows)
        self.get = self._values.get
        self._children: dict[RelPath, dict[RelPath, None]] = {}
        above, siblings = None, dict[RelPath, None]()
        for path in self._values:  # those in one directory mostly follow each other
            if (directory := parent(path)) != above:
                self._link(path)
                above, siblings = directory, self._children[directory]
            siblings[path] = None

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, path: RelPath) -> bool:
        return path in self._values

    def __iter__(self) -> Iterator[RelPath]:
        return iter(self._values)

    def items(self) -> Iterator[tuple[RelPath, V]]:
        """Yield every path with its value, in no order."""
        return iter(self._values.items())

    def set(self, path: RelPath, value: V) -> None:
        """Put `value` at `path`."""
        if path not in self._values:
            self._link(path)
        self._values[path] = value

    def discard(self, path: RelPath) -> V | None:
        """Remove the value at `path` and return it, or None."""
        value = self._values.pop(path, None)
        if value is not None:
            self._unlink(path)
            give_back_if_empty(self._values, self._children)
        return value

    def children(self, directory: RelPath) -> frozenset[RelPath]:
        """Return the paths with a value that lie directly in `directory`."""
        return frozenset(path for path in self._children.get(directory, ()) if path in self._values)

    def descendants(self, directory: RelPath) -> Iterator[RelPath]:
        """Yield every path with a value below `directory`, parents before children."""
        stack = list(self._children.get(directory, ()))
        while stack:
            path = stack.pop()
            if path in self._values:
                yield path
            stack.extend(self._children.get(path, ()))

    def _link(self, path: RelPath) -> None:
        while path:
            above = parent(path)
            siblings = self._children.get(above)
            if siblings is not None:  # so `above` itself is linked
                siblings[path] = None
                return
            self._children[above] = {path: None}
            path = above

    def _unlink(self, path: RelPath) -> None:
        while path and path not in self._values and path not in self._children:
            siblings = self._children[parent(path)]
            del siblings[path]
            if not siblings:
                del self._children[parent(path)]
            path = parent(path)
