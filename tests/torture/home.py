"""A home: two directories, what lies beside them, the state, and the configuration; and what a person does in them."""

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from tests.e2e.servers import Tree, tree_of
from tests.support.state_copy import committed

MOMENT_NS = 1_600_000_000_123_456_789
_SECOND_NS = 1_000_000_000
_CONFIG = """\
[a]
directory = "directory_a"
listen = "127.0.0.1:0"
[b]
directory = "directory_b"
listen = "127.0.0.1:0"
[state]
directory = "state"
[security]
key = "state/key.pem"
"""


class Home:
    """One pair's files. `outside` holds what nobody but its owner may touch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.state = path / "state"
        self.outside = path / "outside"

    def directory(self, role: str) -> Path:
        """Return the directory of a role."""
        return self.path / f"directory_{role}"

    def make(self) -> None:
        """Make an empty one."""
        for directory in (self.path, self.directory("a"), self.directory("b"), self.outside):
            directory.mkdir()
        self.config.write_text(_CONFIG)
        put(self.outside, "secret", b"not ours")

    def copied(self, path: Path) -> "Home":
        """Return a copy at another place, to the last attribute."""
        subprocess.run(["cp", "-a", self.path, path], check=True)
        return Home(path)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path)

    def database(self, role: str) -> AbstractContextManager[sqlite3.Connection]:
        """Lend what the database of a server holds."""
        return committed(self.state / role)

    def versions(self, role: str) -> list[tuple[bytes, str, bytes | None]]:
        """Return path, file and content (None for a link) of every kept version, oldest first."""
        with self.database(role) as connection:
            rows = connection.execute("SELECT path, file, kind FROM versions ORDER BY number").fetchall()
        area = self.state / role / "versions"
        return [(path, file, (area / file).read_bytes() if kind == 1 else None) for path, file, kind in rows]

    def captured(self, role: str) -> int:
        """Return how many states are captured and not released."""
        with self.database(role) as connection:
            (count,) = connection.execute("SELECT count(*) FROM captures").fetchone()
        return int(count)

    def kept(self, role: str, path: bytes) -> list[bytes | None]:
        """Return the kept contents of a path, oldest first."""
        return [content for found, _, content in self.versions(role) if found == path]

    def outside_tree(self) -> Tree:
        """Return what nobody may touch."""
        return tree_of(self.outside)

    def tree(self, role: str) -> Tree:
        """Return what stands in the directory of a role."""
        return tree_of(self.directory(role))


def put(root: Path, name: str, content: bytes, at: int = 0, mode: int = 0o644) -> None:
    """Give a file its content, time (in seconds after a fixed moment) and bits in one step, as by renaming."""
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = root.parent / "fresh"
    fresh.write_bytes(content)
    fresh.chmod(mode)
    date(fresh, at)
    fresh.replace(target)


def date(path: Path, at: int) -> None:
    """Set the time of a file, in seconds after a fixed moment, with odd nanoseconds."""
    moment = MOMENT_NS + at * _SECOND_NS
    os.utime(path, ns=(moment, moment))


def contents(root: Path) -> dict[bytes, bytes]:
    """Return the content of every file below a directory that may be read."""
    found = {}
    top = os.fsencode(root)
    for directory, _, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = file.read()
    return found
