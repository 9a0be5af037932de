"""What both roles are built of: their replica, how their connections send, and how they say that they are ready."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from dirsync.core.entry import Role
from dirsync.core.events import Emit, EventName
from dirsync.disk.reasons import reason_of
from dirsync.errors import DiskError
from dirsync.limits import READY_SECONDS
from dirsync.net.connection import Connection
from dirsync.net.limit import Limiter
from dirsync.net.reasons import address_text
from dirsync.replica.local import LocalReplica
from dirsync.run.settings import ADDRESS_NAME, Compression, Settings
from dirsync.store.database import Database
from dirsync.wire.framing import PACKING


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
        # What A itself captures passes to B, or is counted in the queue it joins: no second limit before that.
        locks_max_bytes=sys.maxsize if role is Role.A else settings.locks_max_bytes,
        versions_keep_days=settings.versions_keep_days,
        versions_max_bytes=settings.versions_max_bytes,
    ) as replica:
        yield replica


class Sending:
    """How everything that a server sends to the other one goes: within the limit, packed where both ends can."""

    def __init__(self, settings: Settings) -> None:
        self._limiter = Limiter(settings.bandwidth_limit) if settings.bandwidth_limit else None
        self._can_pack = PACKING in settings.capabilities
        self._packs_always = settings.compression is Compression.ON

    def begin(self, connection: Connection, kind: str, capabilities: Collection[str]) -> None:
        """Have a connection of this kind, to an end with these capabilities, send so from now on."""
        if self._limiter is not None:
            connection.limit(self._limiter, is_first=kind == "control")
        if self._can_pack and PACKING in capabilities:
            connection.pack(always=self._packs_always)


async def announce_ready(settings: Settings, role: Role, port: int, replica: LocalReplica, emit: Emit) -> None:
    """Say where the server listens: in the state directory for programs at once, in an event for people.

    The event waits a moment for the first look at the directory, so that it can say how many files there are.
    Raises DiskError.
    """
    listen = address_text(settings.server(role).listen.host, port)
    file = settings.state_of(role) / ADDRESS_NAME
    fresh = file.with_suffix(".new")
    try:
        fresh.write_text(f"{listen}\n", "utf-8")
        fresh.replace(file)
    except OSError as error:
        raise DiskError(f"{file} cannot be written: {reason_of(error)}") from error
    try:
        async with asyncio.timeout(READY_SECONDS):
            await replica.wait_looked()
    except TimeoutError:
        pass  # so much to look at is no reason to keep silent; `files` says what is known so far
    directory = os.fspath(settings.server(role).directory)
    emit(EventName.READY, None, {"listen": listen, "directory": directory, "files": replica.files})
