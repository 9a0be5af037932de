"""What stands in the directories of a simulation, read past the product."""

import stat
from dataclasses import dataclass

STAGING_PREFIX = b".dirsync-"


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at a path, as far as both sides have to agree on it. `mtime_ns` counts for files only."""

    kind: str
    data: bytes
    mtime_ns: int
    mode: int


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


def tree_below(root):
    """Return {path: Standing} of a directory, without the product's own names."""
    return {
        path: standing(node) for path, node in nodes_below(root) if not path.split(b"/")[0].startswith(STAGING_PREFIX)
    }


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
