"""Opening what is in use, damaged, foreign or newer."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dirsync.core.paths import RelPath
from dirsync.errors import StateError
from dirsync.store import archive, meta
from dirsync.store.database import FILE_NAME, Database
from dirsync.store.schema import steps
from tests.faults.disks import Disk
from tests.store.support import FILE, child, line_of

HOLDER = """
import sys
from pathlib import Path
from dirsync.store.database import Database
database = Database.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def filled(directory: Path) -> Path:
    """Make a database of a few hundred pages and return its file."""
    with closing(Database.open(directory)) as database, database.transaction() as connection:
        archive.record(connection, [(RelPath(b"directory/file %06d" % number), FILE) for number in range(5_000)])
    return directory / FILE_NAME


def test_a_second_process_is_refused_until_the_first_has_died(directory: Path) -> None:
    with child(HOLDER, directory) as process:
        assert line_of(process) == "open"
        with pytest.raises(StateError, match="another server is running on this state directory"):
            Database.open(directory)
        process.kill()
        process.wait()
        Database.open(directory).close()


def test_this_process_is_refused_a_second_time_too(database: Database, directory: Path) -> None:
    with pytest.raises(StateError, match="another server is running"):
        Database.open(directory)
    with database.transaction() as connection:
        meta.put(connection, "still", b"usable")


def test_a_newer_database_is_refused_and_left_alone(directory: Path) -> None:
    file = filled(directory)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = file.read_bytes()
    with pytest.raises(StateError, match=rf"newer dirsync \(schema 999, this one knows up to {steps()[-1][0]}\)"):
        Database.open(directory)
    assert file.read_bytes() == before


def garbage(file: Path) -> None:
    file.write_bytes(b"this was never a database" * 1_000)


def truncate(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def overwrite_pages(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(b"\xff" * 8192)


def overwrite_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\0" * 100)


def flip_schema(file: Path) -> None:
    """What SQLite says of this quotes bytes that are no text."""
    file.write_bytes(file.read_bytes().replace(b"CREATE TABLE", b"CREA\xab\xab TABLE"))


@pytest.mark.parametrize("damage", [garbage, truncate, overwrite_pages, overwrite_header, flip_schema])
def test_a_damaged_database_is_refused_with_advice_that_works(directory: Path, damage: Callable[[Path], None]) -> None:
    file = filled(directory)
    damage(file)
    with pytest.raises(StateError, match=r"damaged .*move it aside.*first run"):
        Database.open(directory)
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        if (directory / name).exists():
            (directory / name).rename(directory.parent / name)
    with closing(Database.open(directory)) as database, database.transaction() as connection:
        assert list(archive.load(connection)) == []


def test_closing_on_a_full_disk_loses_nothing_and_is_no_error(tmp_path):
    disk = Disk(tmp_path, "disk", "tmpfs", 1)
    try:
        database = Database.open(disk.path / "state")
        for number in range(20):
            with database.transaction() as connection:
                meta.put(connection, f"{number}", b"x" * 5_000)
        filler = disk.fill()
        database.close()
        filler.unlink()
        with closing(Database.open(disk.path / "state")) as reopened, reopened.transaction() as connection:
            assert [meta.get(connection, f"{number}") for number in range(20)] == [b"x" * 5_000] * 20
    finally:
        disk.close()
