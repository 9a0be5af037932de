"""Brings the tables to the form this program knows, in numbered steps from `migrations/NNNN_name.sql`.

A step is never edited once released; a change of the tables is a new file. SQLite's `user_version` holds the number
of the last step taken, changed in the same transaction as the tables.
"""

import sqlite3
from importlib import resources

from dirsync.errors import StateError

_PACKAGE = "dirsync.store"
_FOLDER = "migrations"


def steps() -> list[tuple[int, str]]:
    """Return every step in order: its number and its SQL."""
    found = []
    for file in resources.files(_PACKAGE).joinpath(_FOLDER).iterdir():
        number, separator, _ = file.name.partition("_")
        if separator and file.name.endswith(".sql"):
            found.append((int(number), file.read_text("utf-8")))
    return sorted(found)


def migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing, each as a whole or not at all.

    Raises StateError where the tables are newer than this program, sqlite3.Error where SQLite fails.
    """
    known = steps()
    newest = known[-1][0]
    (present,) = connection.execute("PRAGMA user_version").fetchone()
    if present > newest:
        raise StateError(
            f"the state was written by a newer dirsync (schema {present}, this one knows up to {newest}):"
            " use that version, or another state directory"
        )
    for number, sql in known:
        if number > present:
            _take(connection, number, sql)


def _take(connection: sqlite3.Connection, number: int, sql: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
