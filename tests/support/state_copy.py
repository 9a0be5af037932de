"""The database of a server as it is committed at one moment, whether or not that server has it open.

A server lets nobody else open its database, so a copy is read: of the file and its log, taken again where the server
wrote meanwhile.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dirsync.store.database import FILE_NAME

NAMES = (FILE_NAME, f"{FILE_NAME}-wal")


@contextmanager
def committed(state: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection to a copy of the database in this state directory."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dirsync-", dir=memory if memory.is_dir() else None) as place:
        while True:
            before = _stamps(state)
            for name in NAMES:
                _copy(state / name, Path(place, name))
            if _stamps(state) == before:
                break
        with closing(sqlite3.connect(Path(place, FILE_NAME))) as connection:
            yield connection


def _stamps(state: Path) -> list[tuple[int, int] | None]:
    return [_stamp(state / name) for name in NAMES]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:  # a log that was folded in
        pass
