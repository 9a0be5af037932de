"""The databases of a simulation: real SQLite on real files, with a hook at each statement and a model of power cuts.

A killed process leaves what was committed. A power cut leaves what was committed *durably*: of the write-ahead log that
is what the last commit under synchronous=FULL left of it, and nothing that was committed otherwise since.
"""

import os
import shutil
import sqlite3
from pathlib import Path

from dirsync.store.database import FILE_NAME, Database
from tests.sim.processes import current
from tests.support.state_copy import committed

_FULL = 2
_LOG = "-wal"


def _size_of(log):
    return log.stat().st_size if log.exists() else 0


class SimSqlite:
    """Stands in for the module `sqlite3`: connections tell `before(process, statement)` of each statement."""

    def __init__(self, before):
        self._before = before

    def __getattr__(self, name):
        return getattr(sqlite3, name)

    def connect(self, path, **options):
        before, process, log = self._before, current.get(), Path(f"{path}{_LOG}")

        class Connection(sqlite3.Connection):
            synced_bytes = _size_of(log)

            def execute(self, statement, *values):
                before(process, statement)
                result = super().execute(statement, *values)
                if statement == "COMMIT" and super().execute("PRAGMA synchronous").fetchone()[0] >= _FULL:
                    self.synced_bytes = _size_of(log)
                return result

            def executemany(self, statement, rows):
                before(process, statement)
                return super().executemany(statement, rows)

        return sqlite3.connect(path, factory=Connection, **options)


class SimDatabase:
    """The database of one server, over all its incarnations. It lies in a real directory of its own."""

    def __init__(self, directory, template):
        self.directory = Path(directory)
        self._template = template
        self._open = None
        self.renew()

    def renew(self):
        """Begin with empty tables: the state directory was lost."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self._template, self.directory)

    def open(self):
        """Open it for the current process. Raises StateError."""
        self._open = Database.open(self.directory)
        return self._open

    @property
    def opened(self):
        """The database as its server has it open."""
        return self._open

    @property
    def is_open(self):
        """Whether a server has it open."""
        return self._open is not None and self._open._is_open

    def committed(self, query):
        """Return the rows of a query over what is committed, also while a transaction is under way."""
        with committed(self.directory) as connection:
            return connection.execute(query).fetchall()

    def kill(self):
        """Its process is dead: what was not committed is gone."""
        self._end(is_power_cut=False)

    def power_cut(self):
        """The power is gone: what was not synced is gone as well."""
        self._end(is_power_cut=True)

    def _end(self, is_power_cut):
        database, self._open = self._open, None
        if database is None or not database._is_open:
            return
        database._is_open = False
        connection = database._connection
        survivors = {
            name: content for name in (FILE_NAME, FILE_NAME + _LOG) if (content := self._read(name)) is not None
        }
        if is_power_cut and FILE_NAME + _LOG in survivors:
            survivors[FILE_NAME + _LOG] = survivors[FILE_NAME + _LOG][: connection.synced_bytes]
        connection.close()
        for name in (FILE_NAME, FILE_NAME + _LOG):
            (self.directory / name).unlink(missing_ok=True)
        for name, content in survivors.items():
            (self.directory / name).write_bytes(content)
        os.close(database._directory_lock)

    def _read(self, name):
        file = self.directory / name
        return file.read_bytes() if file.exists() else None


def make_template(directory):
    """Make an empty database of the newest form, to be copied."""
    Database.open(Path(directory)).close()
