"""Which names are neither listed nor synchronised: gitignore patterns, asked about one path at a time.

Owns the meaning of `[sync] ignore`. Plain names, the common case, cost one set lookup in a scan of many files.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from dirsync.core.entry import Directory, Observed
from dirsync.core.paths import ROOT, RelPath, ancestors, name_of, parent, to_text

if TYPE_CHECKING:
    import pathspec

_SPECIAL = frozenset("*?[]!#\\/ ")


class IgnoreRules:
    """The patterns in force, and one more rule for names that are never anybody's (staging directories)."""

    def __init__(self, patterns: Sequence[str], is_internal: Callable[[RelPath], bool]) -> None:
        self._is_internal = is_internal
        self._names: frozenset[bytes] = frozenset()
        self._spec: pathspec.GitIgnoreSpec | None = None
        self.change(patterns)

    def change(self, patterns: Sequence[str]) -> bool:
        """Put other patterns in force; return whether that changes anything."""
        self._patterns, before = tuple(patterns), getattr(self, "_patterns", None)
        # A negation overrides patterns before it, so then the order of all of them counts.
        plain = [pattern for pattern in patterns if is_plain(pattern)]
        if any(pattern.startswith("!") for pattern in patterns):
            plain = []
        rest = [pattern for pattern in patterns if pattern not in plain]
        self._names = frozenset(name.encode("utf-8", "surrogateescape") for name in plain)
        self._spec = compiled(rest) if rest else None
        return self._patterns != before

    def ignores(self, path: RelPath, is_directory: bool) -> bool:
        """Return whether this very path is ignored; its parents are not asked about."""
        if name_of(path) in self._names or self._is_internal(path):
            return True
        if self._spec is None:
            return False
        return self._spec.match_file(to_text(path) + ("/" if is_directory else ""))

    def hides(self, path: RelPath) -> bool:
        """Return whether the path, or a directory above it, is ignored. A pattern for directories hides no file."""
        return self.ignores(path, False) or any(self.ignores(above, True) for above in ancestors(path))

    def hidden_among(self, rows: Iterable[tuple[RelPath, Observed]]) -> list[RelPath]:
        """Return those that are ignored or lie in an ignored directory; each directory is asked about once."""
        hidden_directories: dict[RelPath, bool] = {ROOT: False}

        def is_hidden_directory(path: RelPath) -> bool:
            if path not in hidden_directories:
                hidden_directories[path] = is_hidden_directory(parent(path)) or self.ignores(path, True)
            return hidden_directories[path]

        return [
            path
            for path, found in rows
            if is_hidden_directory(parent(path)) or self.ignores(path, isinstance(found, Directory))
        ]


def is_plain(pattern: str) -> bool:
    """Return whether a pattern is just a name, which any directory may hold."""
    return bool(pattern) and not _SPECIAL & set(pattern)


def compiled(patterns: Sequence[str]) -> "pathspec.GitIgnoreSpec":
    """Return what matches names against these patterns. Raises ValueError or re.error for what is no pattern."""
    import pathspec  # noqa: PLC0415 - loading it costs a start as much as compiling; plain names do without

    return pathspec.GitIgnoreSpec.from_lines(patterns)
