"""What other programs do to a name, or to its directory, at the worst moment; and what must be left of their work.

The stage has one file of interest, `d/f`. Every content is a text of its own, so wherever it turns up it is known
whose it was. An intruder notes what it wrote and what it destroyed itself; everything else has to be somewhere.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.disk.bench import Bench

LATER_NS = 1_700_000_000_987_654_321


class Stage:
    """The directory in which an apply is disturbed, and the account of every content in it."""

    def __init__(self, bench: Bench, outside: Path) -> None:
        self.bench = bench
        self.outside = outside
        self.directory = bench.directory / "d"
        self.name = self.directory / "f"
        self.owed: set[bytes] = set()
        self.is_writing_late = False
        self._writer = -1

    def owe(self, content: bytes) -> None:
        """From now on this content must be found somewhere."""
        self.owed.add(content)

    def destroyed(self, content: bytes | None) -> None:
        """Note that its owner or the intruder, who had it before the eyes, has put an end to a content."""
        self.owed.discard(content or b"")

    @contextmanager
    def writer_of_old(self) -> Iterator[None]:
        """Have a program with the file open for writing, since long ago, and until the block ends."""
        self._writer = os.open(self.name, os.O_RDWR)
        self.is_writing_late = True
        try:
            yield
        finally:
            os.close(self._writer)

    def present(self) -> bytes | None:
        """Return the content or link text at the name; None where there is none."""
        return _content_at(self.name)

    # The intruders

    def write_in_place(self) -> None:
        if self.name.is_dir() or self.name.is_symlink():
            return
        before = self.present()
        _overwrite(self.name, b"theirs")
        self.destroyed(before)
        self.owe(b"theirs")

    def write_in_place_and_put_the_time_back(self) -> None:
        if not _is_file(self.name):
            return
        content = self.present()
        assert content is not None
        status = self.name.stat()
        other = b"T" + content[1:]
        _overwrite(self.name, other)
        os.utime(self.name, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.destroyed(content)
        self.owe(other)

    def append_through_an_old_descriptor(self) -> None:
        before = os.pread(self._writer, 1 << 20, 0)
        os.pwrite(self._writer, b"+late", len(before))
        self.destroyed(before)
        self.owe(before + b"+late")

    def replace(self) -> None:
        if self.name.is_dir():
            return
        beside = self.directory / "editor"
        beside.write_bytes(b"theirs")
        os.utime(beside, ns=(LATER_NS, LATER_NS))
        beside.chmod(0o640)
        self.destroyed(self.present())
        beside.replace(self.name)
        self.owe(b"theirs")

    def delete(self) -> None:
        self.destroyed(self.present())
        if self.name.is_dir() and not self.name.is_symlink():
            for path in self.name.iterdir():
                self.destroyed(path.read_bytes())
            shutil.rmtree(self.name)
        else:
            self.name.unlink(missing_ok=True)

    def move_away(self) -> None:
        if _exists(self.name):
            self.name.rename(self.directory / "away")

    def exchange_with_another(self) -> None:
        other = self.directory / "other"
        other.write_bytes(b"other")
        self.owe(b"other")
        if _exists(self.name):
            self.name.rename(self.directory / "between")
            other.rename(self.name)
            (self.directory / "between").rename(other)

    def make_a_directory(self) -> None:
        self.delete()
        self.name.mkdir()
        (self.name / "in it").write_bytes(b"in it")
        self.owe(b"in it")

    def make_a_link(self) -> None:
        self.delete()
        self.name.symlink_to(self.outside / "secret")
        self.owe(os.fsencode(self.outside / "secret"))

    def change_the_bits(self) -> None:
        if _is_file(self.name):
            self.name.chmod(0o604)

    def touch(self) -> None:
        if _is_file(self.name):
            os.utime(self.name, ns=(LATER_NS, LATER_NS))

    def give_it_a_second_name(self) -> None:
        if _is_file(self.name):
            os.link(self.name, self.directory / "second")

    def move_the_directory(self) -> None:
        if self.directory.is_dir():
            self.directory.rename(self.bench.directory / "moved")

    def put_a_link_in_place_of_the_directory(self) -> None:
        self.move_the_directory()
        if not _exists(self.directory):
            self.directory.symlink_to(self.outside)

    def add_to_the_directory(self) -> None:
        (self.name if self.name.is_dir() else self.directory).joinpath("added").write_bytes(b"added")
        self.owe(b"added")

    def missing(self, kept: Iterable[bytes]) -> set[bytes]:
        """Return what must be somewhere and is not: neither in the directory nor among what was reported as kept."""
        found = set(kept)
        for directory, directories, files in os.walk(self.bench.directory):
            directories[:] = [name for name in directories if not name.startswith(".dirsync-")]
            found.update(filter(None, (_content_at(Path(directory, name)) for name in directories + files)))
        return self.owed - found


Intruder = Callable[[Stage], None]
INTRUDERS: tuple[Intruder, ...] = (
    Stage.write_in_place,
    Stage.write_in_place_and_put_the_time_back,
    Stage.append_through_an_old_descriptor,
    Stage.replace,
    Stage.delete,
    Stage.move_away,
    Stage.exchange_with_another,
    Stage.make_a_directory,
    Stage.make_a_link,
    Stage.change_the_bits,
    Stage.touch,
    Stage.give_it_a_second_name,
    Stage.move_the_directory,
    Stage.put_a_link_in_place_of_the_directory,
    Stage.add_to_the_directory,
)


def _overwrite(path: Path, content: bytes) -> None:
    # Whoever opens a file that is leased waits until it is given back; here that is the next window.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
    os.write(fd, content)
    os.close(fd)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _content_at(path: Path) -> bytes | None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return os.fsencode(os.readlink(path))
        return path.read_bytes() if stat.S_ISREG(mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
