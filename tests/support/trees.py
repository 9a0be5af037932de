"""Small trees for tests: a notation, a model directory with strict guards, and scripts that disturb a tree.

Trees that are generated independently of each other hardly ever collide, so a test makes one and disturbs it twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product

from blake3 import blake3
from hypothesis import strategies as st

from dirsync.core.entry import Digest, Directory, Entry, File, Symlink
from dirsync.core.paths import RelPath, ancestors, is_below, parse_path
from dirsync.core.plan import Action

Entries = dict[RelPath, Entry]
Spec = Mapping[str, "str | Entry | Spec"]


def at(text: str) -> RelPath:
    """Return the path written as text."""
    return parse_path(text.encode())


def file(content: str, mtime_ns: int = 0, mode: int = 0o644) -> File:
    """Return the entry of a file that holds `content`."""
    raw = content.encode()
    return File(Digest(blake3(raw).digest()), len(raw), mtime_ns, mode)


def directory(mode: int = 0o755) -> Directory:
    """Return the entry of a directory."""
    return Directory(mode)


def link(text: str, mtime_ns: int = 0) -> Symlink:
    """Return the entry of a link."""
    return Symlink(text.encode(), mtime_ns)


def tree(spec: Spec, below: str = "") -> Entries:
    """Return the entries of `{"f": "content", "d/": {"g": file("x", 5)}}`; a name with a slash is a directory."""
    result: Entries = {}
    for name, value in spec.items():
        path = at(below + name.rstrip("/"))
        if isinstance(value, str):
            result[path] = file(value)
        elif isinstance(value, Mapping):
            result[path] = directory()
            result.update(tree(value, below + name.rstrip("/") + "/"))
        else:
            result[path] = value
    return result


class GuardError(AssertionError):
    """An action met something else than it expected."""


class ModelDirectory:
    """A directory as a mapping. `apply` is as strict as a real guarded apply; the other methods are a user's."""

    def __init__(self, entries: Mapping[RelPath, Entry]) -> None:
        self.entries = dict(entries)

    def get(self, path: RelPath) -> Entry | None:
        """Return what stands at `path`."""
        return self.entries.get(path)

    def apply(self, action: Action) -> None:
        """Do the action, or raise GuardError and change nothing."""
        self._require(self.get(action.path) == action.expected, action, "expects something else")
        for above in ancestors(action.path):
            self._require(isinstance(self.get(above), Directory), action, "has no parent")
        if isinstance(action.expected, Directory) and not isinstance(action.intended, Directory):
            self._require(not any(is_below(path, action.path) for path in self.entries), action, "is not empty")
        if action.renamed_from is not None:
            source = self.get(action.renamed_from)
            self._require(source == action.expected_source, action, "expects another source")
            self._require(isinstance(source, File) and isinstance(action.intended, File), action, "is no file")
            del self.entries[action.renamed_from]
        if action.intended is None:
            del self.entries[action.path]
        else:
            self.entries[action.path] = action.intended

    @staticmethod
    def _require(is_true: bool, action: Action, what: str) -> None:
        if not is_true:
            raise GuardError(f"{action} {what}")

    def remove(self, path: RelPath) -> None:
        """Remove whatever stands at `path`, with all that is below."""
        for gone in [p for p in self.entries if p == path or is_below(p, path)]:
            del self.entries[gone]

    def put(self, path: RelPath, entry: Entry) -> None:
        """Make `entry` stand at `path`, whatever was in its way."""
        for above in ancestors(path):
            if not isinstance(self.get(above), Directory):
                self.entries[above] = directory()
        self.remove(path)
        self.entries[path] = entry

    def take(self, path: RelPath) -> Entries:
        """Remove and return a subtree; the paths are relative to it, b"" being the subtree itself."""
        taken = {RelPath(p[len(path) :]): e for p, e in self.entries.items() if p == path or is_below(p, path)}
        self.remove(path)
        return taken

    def give(self, path: RelPath, taken: Entries) -> None:
        """Put a subtree that was taken."""
        for below in sorted(taken):
            self.put(RelPath(path + below), taken[below])


class Op(Enum):
    """What a user does."""

    WRITE = "write"
    MKDIR = "mkdir"
    LINK = "link"
    DELETE = "delete"
    MOVE = "move"
    SWAP = "swap"
    CHMOD = "chmod"
    TOUCH = "touch"


@dataclass(frozen=True, slots=True)
class Edit:
    """One step of a script; it does nothing where it makes no sense. `number` is content, time and mode at once."""

    op: Op
    path: RelPath
    other: RelPath
    number: int


def disturbed(entries: Mapping[RelPath, Entry], script: Iterable[Edit], parity: int = 0) -> Entries:
    """Return the tree after the script; times are of the given parity, so that two scripts never tie."""
    model = ModelDirectory(entries)
    for edit in script:
        perform(model, edit, parity)
    return model.entries


def perform(model: ModelDirectory, edit: Edit, parity: int = 0) -> None:
    """Do one step."""
    found, time_ns = model.get(edit.path), 2 * edit.number + parity
    match edit.op:
        case Op.WRITE:
            model.put(edit.path, file(f"content {edit.number % 7}", time_ns))
        case Op.MKDIR:
            model.put(edit.path, directory())
        case Op.LINK:
            model.put(edit.path, link(f"text {edit.number % 3}", time_ns))
        case Op.DELETE:
            model.remove(edit.path)
        case Op.MOVE if found and not is_below(edit.other, edit.path) and edit.other != edit.path:
            taken = model.take(edit.path)
            model.give(edit.other, taken)
        case Op.SWAP if found and model.get(edit.other) and not _are_nested(edit.path, edit.other):
            one, two = model.take(edit.path), model.take(edit.other)
            model.give(edit.other, one)
            model.give(edit.path, two)
        case Op.CHMOD if isinstance(found, File):
            model.entries[edit.path] = File(found.digest, found.size, found.mtime_ns, _mode(edit.number))
        case Op.CHMOD if isinstance(found, Directory):
            model.entries[edit.path] = Directory(_mode(edit.number))
        case Op.TOUCH if isinstance(found, File):
            model.entries[edit.path] = File(found.digest, found.size, time_ns, found.mode)
        case _:
            pass


def _are_nested(one: RelPath, two: RelPath) -> bool:
    return one == two or is_below(one, two) or is_below(two, one)


def _mode(number: int) -> int:
    return (0o700, 0o750, 0o755)[number % 3]


PATHS: Sequence[RelPath] = tuple(
    at("/".join(names)) for depth in (1, 2, 3) for names in [*product("xy", repeat=depth), ("z", "x", "y")[:depth]]
)
"""Few names, so that two scripts meet."""


def edits(without: Iterable[Op] = ()) -> st.SearchStrategy[list[Edit]]:
    """Scripts of up to seven steps."""
    ops = st.sampled_from([op for op in Op if op not in without])
    paths = st.sampled_from(PATHS)
    return st.lists(st.builds(Edit, ops, paths, paths, st.integers(0, 40)), max_size=7)


def base_trees() -> st.SearchStrategy[Entries]:
    """Trees on which two replicas once agreed; every file has its own time, and the default mode."""
    kinds = st.sampled_from([Op.WRITE, Op.WRITE, Op.MKDIR, Op.LINK])
    return st.dictionaries(st.sampled_from(PATHS), kinds, max_size=8).map(_planted)


def _planted(kinds: Mapping[RelPath, Op]) -> Entries:
    return disturbed({}, [Edit(kind, path, path, 100 + PATHS.index(path)) for path, kind in sorted(kinds.items())])
