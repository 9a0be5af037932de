"""What both roles are built of: their replica, and how they say that they are ready."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dirsync.core.entry import Role
from dirsync.core.events import EventName
from dirsync.net.reasons import address_text
from dirsync.replica.local import LocalReplica
from dirsync.run.emitting import Emit
from dirsync.run.settings import ADDRESS_NAME, Settings
from dirsync.store.database import Database


@asynccontextmanager
async def open_replica(settings: Settings, role: Role, database: Database, emit: Emit) -> AsyncIterator[LocalReplica]:
    """Lend the replica over the role's own directory, watched and at work."""
    async with LocalReplica(
        role,
        os.fspath(settings.server(role).directory),
        settings.state_of(role),
        database,
        emit,
        ignore=settings.ignore,
        locks_max_bytes=settings.locks_max_bytes,
        versions_keep_days=settings.versions_keep_days,
        versions_max_bytes=settings.versions_max_bytes,
    ) as replica:
        yield replica


def announce_ready(settings: Settings, role: Role, port: int, replica: LocalReplica, emit: Emit) -> None:
    """Say where the server listens: in the state directory for programs, in an event for people."""
    listen = address_text(settings.server(role).listen.host, port)
    file = settings.state_of(role) / ADDRESS_NAME
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{listen}\n", "utf-8")
    fresh.replace(file)
    directory = os.fspath(settings.server(role).directory)
    emit(EventName.READY, None, {"listen": listen, "directory": directory, "files": replica.files})
