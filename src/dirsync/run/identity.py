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
_EPOCHS = "epoch"
_EPOCH_BYTES = 8
_EPOCHS_MAX = 1000
_SEEN = "epoch_of_a"
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


def new_epoch(database: Database) -> int:
    """Begin another epoch of this state, as each start of the server does, and return its random number."""
    epoch = secrets.randbits(62) + 1
    with database.transaction() as connection:
        known = (meta.get(connection, _EPOCHS) or b"") + epoch.to_bytes(_EPOCH_BYTES)
        meta.put(connection, _EPOCHS, known[-_EPOCH_BYTES * _EPOCHS_MAX :])
    return epoch


def has_epoch(database: Database, epoch: int) -> bool:
    """Return whether this state has had that epoch; 0 is none.

    One that it does not know was begun by a later state: this one was restored from an older copy.
    """
    with database.transaction() as connection:
        known = meta.get(connection, _EPOCHS) or b""
    parts = {known[place : place + _EPOCH_BYTES] for place in range(0, len(known), _EPOCH_BYTES)}
    return epoch == 0 or epoch.to_bytes(_EPOCH_BYTES) in parts


def seen_epoch(database: Database) -> int:
    """Return the epoch in which Server A was last seen here; 0 where it never was."""
    with database.transaction() as connection:
        return int.from_bytes(meta.get(connection, _SEEN) or b"\0")


def learn_epoch(database: Database, epoch: int) -> None:
    """Remember the epoch in which Server A was seen."""
    with database.transaction() as connection:
        meta.put(connection, _SEEN, epoch.to_bytes(_EPOCH_BYTES))


def machine_id() -> str:
    """Return what tells this machine from others, empty where the system does not say."""
    for file in _MACHINE_FILES:
        try:
            return file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
