"""Killed while writing: what was committed is there, whole; what was not is not."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dirsync.store import archive, meta
from dirsync.store.database import FILE_NAME, Database
from tests.store.support import child, line_of

ROWS = 300

WRITER = f"""
import sys
from pathlib import Path
from dirsync.core.entry import Digest, File
from dirsync.core.paths import RelPath
from dirsync.store import archive, meta
from dirsync.store.database import Database

database = Database.open(Path(sys.argv[1]))
for number in range(1, 1_000_000):
    with database.transaction() as connection:
        meta.put(connection, "number", b"%d" % number)
        archive.record(
            connection, [(RelPath(b"%d" % i), File(Digest(b"d" * 32), number, number, 0o644)) for i in range({ROWS})]
        )
    print(number, flush=True)
"""

STOPPED_INSIDE = """
import sys
from pathlib import Path
from dirsync.store import meta
from dirsync.store.database import Database

database = Database.open(Path(sys.argv[1]))
with database.transaction() as connection:
    meta.put(connection, "committed", b"1")
with database.transaction() as connection:
    connection.execute("PRAGMA cache_size = 1")
    meta.put(connection, "committed", b"2")
    for number in range(200):
        meta.put(connection, f"uncommitted {number}", b"x" * 20_000)
    print("inside", flush=True)
    sys.stdin.read()
"""

KILLED_WHILE_MIGRATING = """
import os, signal, sqlite3, sys
from dirsync.store import schema

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
found = schema.steps()
schema.steps = lambda: [*found, (found[-1][0] + 1, "CREATE TABLE half (a); DROP TABLE archive; SELECT die();")]
schema.migrate(connection)
"""


@pytest.mark.parametrize("kill_after", [1, 2, 7, 20])
def test_killed_at_any_moment(directory: Path, kill_after: int) -> None:
    with child(WRITER, directory) as process:
        for _ in range(kill_after):
            acknowledged = int(line_of(process))
        process.kill()
        assert process.stdout is not None
        for line in process.stdout.read().split():
            acknowledged = int(line)
    with closing(Database.open(directory)) as database, database.transaction() as connection:
        number = int(meta.get(connection, "number") or b"0")
        sizes = [entry.size for _, entry in archive.load(connection) if hasattr(entry, "size")]
    assert number >= acknowledged
    assert sizes == [number] * ROWS


def test_killed_inside_a_transaction(directory: Path) -> None:
    with child(STOPPED_INSIDE, directory) as process:
        assert line_of(process) == "inside"
        written = (directory / f"{FILE_NAME}-wal").stat().st_size
        process.kill()
    assert written > 1_000_000, "part of the unfinished transaction must have reached the disk"
    with closing(Database.open(directory)) as database, database.transaction() as connection:
        assert connection.execute("SELECT key, value FROM meta").fetchall() == [("committed", b"1")]


def test_killed_while_migrating(directory: Path) -> None:
    Database.open(directory).close()
    with child(KILLED_WHILE_MIGRATING, directory / FILE_NAME) as process:
        assert process.wait() == -9
    with closing(Database.open(directory)) as database, database.transaction() as connection:
        assert list(archive.load(connection)) == []
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            connection.execute("SELECT * FROM half")
