"""One server's database: opened once, written in transactions, closed at the end.

Owns the connection, the durability settings and the mapping of SQLite's errors; knows no table. What a finished
transaction wrote survives a crash and a power cut; an unfinished one leaves nothing behind.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dirsync.errors import StateError
from dirsync.store.columns import BadRow
from dirsync.store.directory import make_private, take_lock
from dirsync.store.schema import migrate

FILE_NAME = "state.db"

_SQLITE_NEEDED = (3, 37, 0)
"""The first with STRICT tables."""
_BUSY_SECONDS = 5.0
"""Nobody else uses it while a server does; somebody may be looking at it with SQLite's own tools when one starts."""
_WAL_BYTES_MAX = 64 * 1024 * 1024
"""What the log is cut down to after a very large transaction."""
_SYNCED = "PRAGMA synchronous = FULL"
_NOT_SYNCED = "PRAGMA synchronous = NORMAL"
_PRAGMAS = (
    _SYNCED,
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}",
)


class Database:
    """The open database of a state directory. Any thread may use it, one transaction at a time."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.directory = directory
        self._connection = connection
        self._directory_lock = lock
        self._is_open = True
        # One transaction at a time, by whichever thread; re-entrant only so that nesting fails instead of hanging.
        self._turn = threading.RLock()

    @classmethod
    def open(cls, directory: Path) -> "Database":
        """Open the database in `directory`, making both where they are missing, private to their owner.

        Raises StateError where another server uses the directory, and where the database is damaged, newer than
        this program, or cannot be read or written.
        """
        if sqlite3.sqlite_version_info < _SQLITE_NEEDED:
            raise StateError(f"SQLite 3.37 or newer is needed, this Python has {sqlite3.sqlite_version}")
        make_private(directory)
        with ExitStack() as undo:
            lock = take_lock(directory)
            undo.callback(os.close, lock)
            connection = _connect(directory / FILE_NAME)
            undo.pop_all()
        return cls(directory, connection, lock)

    @contextmanager
    def transaction(self, *, is_synced: bool = True) -> Iterator[sqlite3.Connection]:
        """Give the connection to the caller: leaving normally commits durably, leaving by an error changes nothing.

        What is not synced survives the end of the process at any instruction, but a power cut only once something
        later was synced. Waits for its turn. Not to be nested, and what it yields (rows included) is not to be used
        afterwards. Raises StateError where SQLite fails.
        """
        with self._turn, _errors_mapped(self.directory):
            if not self._is_open:
                raise StateError(f"the state in {self.directory} is closed already")
            assert not self._connection.in_transaction, "transactions are not nested"
            if not is_synced:
                self._connection.execute(_NOT_SYNCED)
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                _roll_back_unfinished(self._connection)
                if not is_synced:
                    self._connection.execute(_SYNCED)

    def close(self) -> None:
        """Fold the log into the database and let the next server in. Once closed, closing again does nothing.

        Where there is no room to fold it in, or the database is damaged, the log stays: what was committed is in it.
        """
        with self._turn:
            if not self._is_open:
                return
            self._is_open = False
            try:
                with suppress(sqlite3.Error):
                    self._connection.close()  # the last one to close folds it in
            finally:
                os.close(self._directory_lock)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, apply the settings and bring the tables up to date."""
    with _errors_mapped(path.parent), ExitStack() as undo:
        _make_file(path)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        undo.callback(connection.close)
        # Before the log is touched: so its index is in our own memory. In a mapped file, a disk that is gone would end
        # the process (SIGBUS), and every transaction would take and release locks that nobody else waits for.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").close()
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateError(f"the file system of {path.parent} cannot hold the state (no write-ahead log)")
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()
        _require_sound(connection)
        migrate(connection)
        undo.pop_all()
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    # A third of a second for a million rows; it reads pages that loading the tables reads next anyway.
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise BadRow(verdict.splitlines()[-1])


def _roll_back_unfinished(connection: sqlite3.Connection) -> None:
    # SQLite itself has ended the transaction after some errors, a full disk for one.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _make_file(path: Path) -> None:
    """Make the file before SQLite does, which would let the umask decide; its log and index copy the permissions."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StateError(f"cannot use the state database {path}: {error.strerror}") from error


@contextmanager
def _errors_mapped(directory: Path) -> Iterator[None]:
    try:
        yield
    except BadRow as error:
        raise StateError(_damaged(directory, str(error))) from error
    except UnicodeDecodeError as error:  # what SQLite says of a damaged schema quotes its bytes
        raise StateError(_damaged(directory, "it holds text that is none")) from error
    except sqlite3.Error as error:
        raise StateError(_explain(directory, error)) from error


def _explain(directory: Path, error: sqlite3.Error) -> str:
    # The sqlite3 module sets the code only on errors that come from SQLite itself.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(directory, str(error))
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_FULL or _is_full(directory):
            # An I/O error is what SQLite says where a sync finds no room.
            return f"the disk of the state directory {directory} is full"
        case _:
            return f"the state database {directory / FILE_NAME} cannot be used: {error}"


def _is_full(directory: Path) -> bool:
    return hasattr(os, "statvfs") and os.statvfs(directory).f_bavail == 0


def _damaged(directory: Path, reason: str) -> str:
    return (
        f"the state database {directory / FILE_NAME} is damaged ({reason}): move it aside together with"
        f" {FILE_NAME}-wal; the next start is then a first run, which deletes nothing"
    )
