"""Who a server is: the ids in its state, and what meeting another one means.

A pair has an id, each replica too. The archive at A was made with one replica of B; any other is a first run.
"""

import secrets
from pathlib import Path

from dirsync.core.entry import Role
from dirsync.store import meta
from dirsync.store.database import Database

_ID_BYTES = 16
_PAIR = "pair_id"
_PARTNER = "partner_"
_EPOCH = "epoch"
_MACHINE_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def pair_id(database: Database) -> bytes:
    """Return the pair's id, empty where none was made or learnt yet."""
    with database.transaction() as connection:
        return meta.get(connection, _PAIR) or b""


def make_pair_id(database: Database) -> bytes:
    """Return the pair's id, made now if there is none."""
    with database.transaction() as connection:
        known = meta.get(connection, _PAIR)
        if known is None:
            known = secrets.token_bytes(_ID_BYTES)
            meta.put(connection, _PAIR, known)
        return known


def learn_pair_id(database: Database, value: bytes) -> None:
    """Belong to this pair from now on."""
    with database.transaction() as connection:
        meta.put(connection, _PAIR, value)


def partner(database: Database, role: Role) -> bytes:
    """Return the replica of this role that the archive was made with, empty where there is none."""
    with database.transaction() as connection:
        return meta.get(connection, f"{_PARTNER}{role}") or b""


def learn_partner(database: Database, role: Role, replica_id: bytes) -> None:
    """Make the archive one with this replica; what it said of another must be gone by now, durably."""
    with database.transaction() as connection:
        meta.put(connection, f"{_PARTNER}{role}", replica_id)


def next_epoch(database: Database) -> int:
    """Count this start of the server, and return the count."""
    with database.transaction() as connection:
        epoch = int.from_bytes(meta.get(connection, _EPOCH) or b"\0") + 1
        meta.put(connection, _EPOCH, epoch.to_bytes(8))
        return epoch


def machine_id() -> str:
    """Return what tells this machine from others, empty where the system does not say."""
    for file in _MACHINE_FILES:
        try:
            return file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
