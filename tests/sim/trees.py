"""What stands in the directories of a simulation, read past the product."""

import stat
from typing import NamedTuple

STAGING_PREFIX = b".dirsync-"


class Standing(NamedTuple):
    """What stands at a path, as far as both sides have to agree on it. `mtime_ns` counts for files only."""

    kind: str
    data: bytes
    mtime_ns: int
    mode: int


class View:
    """What stands below a directory, read anew only after its file system has changed. Not to be changed."""

    def __init__(self, root):
        self.root = root
        self._version = None
        self._nodes = self._tree = self._contents = None

    @property
    def version(self):
        """A number that is another one after each change."""
        return self.root.fs.version

    @property
    def nodes(self):
        """[(path, node)], parents first."""
        if self._version != self.root.fs.version:
            self._version = self.root.fs.version
            self._nodes = list(nodes_below(self.root))
            self._tree = self._contents = None
        return self._nodes

    @property
    def tree(self):
        """{path: Standing}, without the product's own names."""
        nodes = self.nodes
        if self._tree is None:
            self._tree = {path: standing(node) for path, node in nodes if not path.startswith(STAGING_PREFIX)}
        return self._tree

    @property
    def contents(self):
        """{path: content} of the files, whosever they are."""
        nodes = self.nodes
        if self._contents is None:
            self._contents = {path: node.data for path, node in nodes if node.is_file}
        return self._contents


def nodes_below(root):
    """Yield (path, node) for everything below a directory's node, parents first."""
    stack = [(b"", root)]
    while stack:
        above, directory = stack.pop()
        for name, node in sorted(directory.children.items()):
            path = above + b"/" + name if above else name
            yield path, node
            if node.children is not None:
                stack.append((path, node))


def standing(node):
    """Return what a node looks like from outside."""
    mode = stat.S_IMODE(node.mode) & 0o777
    if node.is_directory:
        return Standing("directory", b"", 0, mode)
    if node.is_link:
        return Standing("link", node.data, 0, 0)
    return Standing("file" if node.is_file else "other", node.data, node.mtime_ns, mode)


def contents_below(root):
    """Return {path: content} of the files below a directory, whosever they are."""
    return {path: node.data for path, node in nodes_below(root) if node.is_file}


def remove_below(directory):
    """Empty a directory, durably, past every person and process."""
    for name, node in list(directory.children.items()):
        if node.children:
            remove_below(node)
        directory.fs.rename([(directory, name, node, None)])
    directory.fs.sync()


def difference(a, b):
    """Return one line per path at which two trees differ."""
    return [
        f"{path.decode('utf-8', 'replace')}: a {shown(a.get(path))}, b {shown(b.get(path))}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def shown(found):
    """Return a line for people about what stands at a path."""
    if found is None:
        return "nothing"
    data = found.data if len(found.data) <= 24 else found.data[:24] + b"..."
    return f"{found.kind} {data!r} {len(found.data)} mtime {found.mtime_ns} {found.mode:o}"
