"""What is known about the pair: the base, and for each replica what differs from it.

Two equal trees cost one tree of memory. A path is open while the three entries do not agree, so "nothing is open"
is what "in sync" means, by construction.
"""

from collections.abc import Iterable, Iterator

from dirsync.core.emptied import give_back_if_empty
from dirsync.core.entry import Entry, File, Observed, Role, Symlink, Untracked
from dirsync.core.paths import RelPath
from dirsync.core.tree import Tree


class Views:
    """The three entries of every path, as last recorded and last observed; at first both replicas count as the base."""

    def __init__(self, base: Tree[Entry] | None = None) -> None:
        self.base: Tree[Entry] = Tree() if base is None else base
        self._differences: dict[Role, Tree[tuple[Observed]]] = {Role.A: Tree(), Role.B: Tree()}
        self._open: set[RelPath] = set()

    @property
    def open_paths(self) -> frozenset[RelPath]:
        """The paths on which the two sides and the base do not agree."""
        return frozenset(self._open)

    def opened(self) -> Iterator[RelPath]:
        """Yield the open paths without copying them; nothing may be observed meanwhile."""
        return iter(self._open)

    @property
    def open_count(self) -> int:
        """How many paths are open."""
        return len(self._open)

    def is_open(self, path: RelPath) -> bool:
        """Return whether the three entries at `path` disagree."""
        return path in self._open

    def get(self, role: Role, path: RelPath) -> Observed:
        """Return what stands at `path` in the replica, as last observed."""
        difference = self._differences[role].get(path)
        return self.base.get(path) if difference is None else difference[0]

    def observe(self, role: Role, path: RelPath, found: Observed) -> None:
        """Take note of what stands at `path` in the replica."""
        if found == self.base.get(path):
            self._differences[role].discard(path)
        else:
            self._differences[role].set(path, (found,))
        self._update_open(path)

    def record(self, path: RelPath, entry: Entry | None) -> None:
        """Advance the base. What each replica holds stays what it was."""
        a, b = self.get(Role.A, path), self.get(Role.B, path)
        self._set_base(path, entry)
        self.observe(Role.A, path, a)
        self.observe(Role.B, path, b)

    def agree(self, path: RelPath, entry: Entry | None) -> None:
        """Advance the base to what both replicas hold."""
        self._set_base(path, entry)
        for differences in self._differences.values():
            differences.discard(path)
        self._close(path)

    def is_unchanged(self, path: RelPath, found: Observed) -> bool:
        """Return whether both replicas and the base hold this already: the common case, and the cheap one."""
        return found is not None and path not in self._open and found == self.base.get(path)

    def news(self, rows: Iterable[tuple[RelPath, Observed]]) -> Iterator[tuple[RelPath, Observed]]:
        """Yield the rows that `is_unchanged` denies, each judged in its turn."""
        get_base, opened = self.base.get, self._open
        for row in rows:
            path, found = row
            if found is None or path in opened or ((base := get_base(path)) is not found and base != found):
                yield row

    def standing(self, role: Role) -> Iterator[tuple[RelPath, Observed]]:
        """Yield everything that stands in the replica, as last observed; nothing may be observed meanwhile."""
        differences = self._differences[role]
        for path, entry in self.base.items():
            if path not in differences:
                yield path, entry
        for path, (found,) in differences.items():
            if found is not None:
                yield path, found

    def differences(self, role: Role) -> dict[RelPath, Observed]:
        """Return what the replica holds where that is not the base."""
        return {path: found for path, (found,) in self._differences[role].items()}

    def has_news_below(self, role: Role, directory: RelPath) -> bool:
        """Return whether something stands in `directory` at the replica that is not in the base, or is another one."""
        return any(self.get(role, path) is not None for path in self._differences[role].descendants(directory))

    def children(self, role: Role, directory: RelPath) -> frozenset[RelPath]:
        """Return what lies directly in `directory` at the replica."""
        candidates = self.base.children(directory) | self._differences[role].children(directory)
        return frozenset(path for path in candidates if self.get(role, path) is not None)

    def paths(self) -> set[RelPath]:
        """Return every path that stands at either side or in the base."""
        known = set(self.base)
        for differences in self._differences.values():
            known.update(differences)
        return known

    def count_files(self, in_base: int) -> int:
        """Return how many files and links stand at either side, where the base has so many."""
        files = in_base
        for path in {path for differences in self._differences.values() for path in differences}:
            files += any(isinstance(self.get(role, path), File | Symlink) for role in Role)
            files -= isinstance(self.base.get(path), File | Symlink)
        return files

    def forget(self, role: Role) -> None:
        """Drop what was observed of the replica: until it is observed again it counts as equal to the base."""
        paths = list(self._differences[role])
        self._differences[role] = Tree()
        for path in paths:
            self._update_open(path)

    def _set_base(self, path: RelPath, entry: Entry | None) -> None:
        if entry is None:
            self.base.discard(path)
        else:
            self.base.set(path, entry)

    def _update_open(self, path: RelPath) -> None:
        found = [difference[0] for tree in self._differences.values() if (difference := tree.get(path)) is not None]
        is_nothing = all(isinstance(each, Untracked) for each in found) and path not in self.base
        if not found or is_nothing:
            self._close(path)
        else:
            self._open.add(path)

    def _close(self, path: RelPath) -> None:
        self._open.discard(path)
        give_back_if_empty(self._open)
