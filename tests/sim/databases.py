"""The databases of a simulation: real SQLite on real files, with a hook at each statement and a model of power cuts.

A killed process leaves what was committed. A power cut leaves what was committed *durably*: with a write-ahead log that
is every commit under synchronous=FULL, else only what stood in the database file at the last checkpoint.
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


class SimSqlite:
    """Stands in for the module `sqlite3`: connections tell `before(process, statement)` of each statement."""

    def __init__(self, before):
        self._before = before

    def __getattr__(self, name):
        return getattr(sqlite3, name)

    def connect(self, path, **options):
        before, process = self._before, current.get()

        class Connection(sqlite3.Connection):
            def execute(self, statement, *values):
                before(process, statement)
                return super().execute(statement, *values)

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
        synchronous = sqlite3.Connection.execute(connection, "PRAGMA synchronous").fetchone()[0]
        survivors = self._survivors(is_full=not is_power_cut or synchronous >= _FULL)
        connection.close()
        for name in (FILE_NAME, FILE_NAME + _LOG):
            (self.directory / name).unlink(missing_ok=True)
        for name, content in survivors.items():
            (self.directory / name).write_bytes(content)
        os.close(database._directory_lock)

    def _survivors(self, is_full):
        names = [FILE_NAME, FILE_NAME + _LOG] if is_full else [FILE_NAME]
        return {name: (self.directory / name).read_bytes() for name in names if (self.directory / name).exists()}


def make_template(directory):
    """Make an empty database of the newest form, to be copied."""
    Database.open(Path(directory)).close()
