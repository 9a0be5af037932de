"""A tree of values by path, with the children of each directory at hand."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from dirsync.core.paths import RelPath, parent

V = TypeVar("V")


class Tree(Generic[V]):
    """A mapping from path to value that also answers what lies in a directory.

    A child is listed under its parent whether or not the parent itself has a value.
    """

    __slots__ = ("_children", "_values")

    def __init__(self) -> None:
        self._values: dict[RelPath, V] = {}
        self._children: dict[RelPath, set[RelPath]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, path: RelPath) -> bool:
        return path in self._values

    def __iter__(self) -> Iterator[RelPath]:
        return iter(self._values)

    def items(self) -> Iterator[tuple[RelPath, V]]:
        """Yield every path with its value, in no order."""
        return iter(self._values.items())

    def get(self, path: RelPath) -> V | None:
        """Return the value at `path`, or None."""
        return self._values.get(path)

    def set(self, path: RelPath, value: V) -> None:
        """Put `value` at `path`."""
        if path not in self._values:
            self._children.setdefault(parent(path), set()).add(path)
        self._values[path] = value

    def discard(self, path: RelPath) -> V | None:
        """Remove the value at `path` and return it, or None."""
        value = self._values.pop(path, None)
        if value is not None:
            siblings = self._children[parent(path)]
            siblings.discard(path)
            if not siblings:
                del self._children[parent(path)]
        return value

    def children(self, directory: RelPath) -> frozenset[RelPath]:
        """Return the paths that lie directly in `directory`."""
        return frozenset(self._children.get(directory, ()))

    def descendants(self, directory: RelPath) -> Iterator[RelPath]:
        """Yield every path below `directory`, parents before children."""
        stack = list(self._children.get(directory, ()))
        while stack:
            path = stack.pop()
            yield path
            stack.extend(self._children.get(path, ()))
