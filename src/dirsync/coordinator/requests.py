"""Answers the clients: listing, locks, status, waiting, events, kept versions.

Reads what the coordinator knows and asks the replicas; changes nothing but through the holds and `restore`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from itertools import islice, product
from typing import TypeVar, assert_never

from dirsync import __version__
from dirsync.coordinator.hold_queue import HoldQueue
from dirsync.coordinator.journal import Journal
from dirsync.coordinator.loop import Coordinator
from dirsync.core.entry import Directory, File, Observed, Problem, Role, Untracked, mtime_of
from dirsync.core.listing import Standing, composite, standing_of
from dirsync.core.paths import RelPath, ancestors, display
from dirsync.core.reports import ContentOfVersion, Look
from dirsync.core.versions import Version
from dirsync.errors import DirsyncError, Refusal, Unreachable
from dirsync.limits import BATCH_ACTIONS_MAX, HOLD_TOLD_SECONDS, LISTING_SECONDS
from dirsync.replica.interface import FullReplica
from dirsync.replica.streams import closing
from dirsync.store.conflict_rows import ConflictRow
from dirsync.wire.client_messages import (
    BringBackRequest,
    EventsPart,
    EventsRequest,
    HeldUpdate,
    ListPart,
    ListReply,
    ListRequest,
    LockedName,
    LockReply,
    LockRequest,
    LocksReply,
    LocksRequest,
    OpenConflict,
    OutputRequest,
    PendingPath,
    ServerStatus,
    StatusReply,
    StatusRequest,
    UnlockReply,
    UnlockRequest,
    WaitReply,
    WaitRequest,
)
from dirsync.wire.meeting import Chunk, Done
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import HistoryReply, HistoryRequest, RestoreReply

T = TypeVar("T")

Streamed = ListRequest | EventsRequest | OutputRequest
"""Requests that are answered in parts."""

_ROWS_MAX = 400
"""Rows of one part: even with the longest paths they fit into a frame."""
_PENDING_MAX = 100
_STATE_SECONDS = 1.0
"""How long the status waits for the state directory, whose disk may hang."""
_REASONS_MAX = 10


class ClientRequests:
    """What Server A does for its clients. `place` says address and directory of a role as people know them."""

    def __init__(
        self, coordinator: Coordinator, journal: Journal, pair_id: bytes, place: Callable[[Role], tuple[str, str]]
    ) -> None:
        self._coordinator = coordinator
        self._journal = journal
        self._conflicts: tuple[int, list[ConflictRow]] = (0, [])
        self._counts = dict.fromkeys(Role, (0, 0, 0))
        self._pair_id = pair_id
        self._place = place

    async def answer(self, request: Message) -> Message:
        """Answer what has one reply. Raises Refusal with a text for the person who asked."""
        match request:
            case LockRequest():
                return await self._lock(request.path)
            case UnlockRequest():
                return await self._unlock(request.path)
            case LocksRequest():
                return LocksReply(tuple(self._locked(queue) for queue in self._coordinator.holds))
            case StatusRequest():
                return await self._status()
            case WaitRequest():
                return await self._wait(request.seconds)
            case HistoryRequest():
                return await self._show_history(request.path)
            case BringBackRequest():
                version, unreachable = await self._choose(request.path, request.version, request.role)
                restored = await self._replica(version.role).restore(version.id)
                await self._coordinator.conflicts.looked_at(request.path, {version.id}, tuple(Role))
                return RestoreReply(restored, unreachable)
            case _:
                raise Refusal(f"not something a client asks: {type(request).__name__}")

    def stream(self, request: Streamed) -> AsyncGenerator[Message, None]:
        """Yield the parts of an answer, the reply last."""
        match request:
            case ListRequest():
                return self._list()
            case EventsRequest():
                return self._events(request)
            case OutputRequest():
                return self._output(request)
            case _:
                assert_never(request)

    async def _events(self, request: EventsRequest) -> AsyncGenerator[Message, None]:
        with self._journal.followed() as following:
            for batch in _batches(self._journal.last(request.last), BATCH_ACTIONS_MAX):
                yield EventsPart(tuple(batch))
            if request.is_following:
                async for events in following:
                    yield EventsPart(tuple(events))
        yield Done()

    async def _output(self, request: OutputRequest) -> AsyncGenerator[Message, None]:
        version, unreachable = await self._choose(request.path, request.version, request.role)
        if not isinstance(version.entry, File):
            raise Refusal(f"{version.id} of {display(version.path)} is a link; it has no content to write to a file")
        content = self._replica(version.role).supply(ContentOfVersion(version.id, version.entry), 0)
        async with closing(content) as chunks:
            async for data in chunks:
                yield Chunk(data)
        await self._coordinator.conflicts.looked_at(request.path, {version.id}, tuple(Role))
        yield RestoreReply(version, unreachable)

    async def _look(self, role: Role, seconds: float = LISTING_SECONDS) -> Look | None:
        """Have a replica look; None where it cannot, or not in time. A's own is there soon after the start."""
        coordinator = self._coordinator
        try:
            async with asyncio.timeout(seconds):
                if role is Role.A:
                    await coordinator.until(lambda: role in coordinator.ready or role in coordinator.paused)
                return await coordinator.look(role, is_full=False)
        except (DirsyncError, TimeoutError):
            return None

    async def _look_at_both(self) -> dict[Role, Look | None]:
        looks = await asyncio.gather(*(self._look(role) for role in Role))
        return dict(zip(Role, looks, strict=True))

    async def _list(self) -> AsyncGenerator[Message, None]:
        looks = await self._look_at_both()
        # Only now: a first run puts others in their place.
        views, holds = self._coordinator.pair.views, self._coordinator.holds
        unreachable = tuple(role for role in Role if looks[role] is None and role is not Role.A)
        own: dict[Role, dict[RelPath, Standing | None]] = {}
        for role in Role:
            if role in unreachable:
                continue
            own[role] = {path: standing_of(found) for path, found in views.differences(role).items()}
            look = looks[role]
            own[role].update((path, seen) for path, seen in (look.unsettled if look else ()) if seen is not None)
        differing = frozenset(p for p in views.opened() if views.get(Role.A, p) != views.get(Role.B, p))
        locked = {queue.hold.path: queue.hold.depth for queue in holds}
        # A copy, so that all rows are of this moment although others have their turn between two parts.
        rows = composite(dict(views.base.items()), own, differing, locked)
        while batch := tuple(islice(rows, _ROWS_MAX)):
            yield ListPart(batch)
            await asyncio.sleep(0)
        yield ListReply(self._pair_id, unreachable)

    async def _lock(self, path: RelPath) -> LockReply:
        coordinator = self._coordinator
        if path not in coordinator.holds:
            found = await self._find(path)
            if not any(found):
                raise Refusal(f"no such file: {display(path)}")
            if all(isinstance(entry, Directory | None) for entry in found):
                raise Refusal(f"a directory cannot be locked, only files and links: {display(path)}")
            if all(isinstance(entry, Untracked | None) for entry in found):
                raise Refusal(f"not a file or link, so it is not synchronised: {display(path)}")
        return LockReply(await coordinator.holds.lock(path))

    async def _find(self, path: RelPath) -> list[Observed]:
        """Return what stands at `path` at each server; something still being written counts as a problem there."""
        pair = self._coordinator.pair
        found = [pair.views.get(role, path) for role in Role]
        if any(found):
            return found
        looks = await self._look_at_both()
        unsettled = {p for look in looks.values() if look for p, _ in look.unsettled}
        found = [pair.views.get(role, path) for role in Role]
        return [Problem("it is being written"), None] if path in unsettled and not any(found) else found

    async def _unlock(self, path: RelPath) -> UnlockReply:
        # What B did before this was asked belongs to the queue, if B can be asked.
        holds = self._coordinator.holds
        relocks = holds.relocks(path)
        if path in holds:
            await self._look(Role.B, HOLD_TOLD_SECONDS)
        return UnlockReply(await holds.unlock(path, relocks))

    @staticmethod
    def _locked(queue: HoldQueue) -> LockedName:
        updates = tuple(
            HeldUpdate(update.origin, update.change.value, update.size, mtime_of(update.entry), update.received_ns)
            for update in queue.hold.updates
        )
        return LockedName(queue.hold.path, queue.since_ns, queue.hold.is_draining, queue.reason, updates)

    async def _status(self) -> StatusReply:
        coordinator = self._coordinator
        looks = await self._look_at_both()
        pending = self._pending()
        error = self._journal.last_error
        last_error = ""
        if error is not None:
            where = f"{display(error.path)}: " if error.path is not None else ""
            last_error = f"{where}{error.fields.get('reason', '')}"
        count, conflicts = await self._open_conflicts()
        return StatusReply(
            __version__,
            Role.B in coordinator.replicas,
            coordinator.is_in_sync,
            tuple(self._server(role, looks[role]) for role in Role),
            len(pending),
            tuple(PendingPath(path, self._reason(path)) for path in pending[:_PENDING_MAX]),
            tuple(self._locked(queue) for queue in coordinator.holds),
            last_error,
            count,
            tuple(OpenConflict(row.path, row.winner, row.version, row.since_ns) for row in conflicts),
        )

    async def _open_conflicts(self) -> tuple[int, list[ConflictRow]]:
        """Return how many there are and the newest; what was known last where the disk of the state does not answer."""
        try:
            async with asyncio.timeout(_STATE_SECONDS):
                self._conflicts = await self._coordinator.conflicts.newest(_PENDING_MAX)
        except TimeoutError:
            pass
        return self._conflicts

    def _server(self, role: Role, look: Look | None) -> ServerStatus:
        address, directory = self._place(role)
        if look is not None:
            self._counts[role] = look.files, look.size, look.found_by_scan
        if role in self._coordinator.paused:
            state = "paused"
        elif look is not None:
            state = "ready"
        else:
            state = "busy" if role is Role.A or role in self._coordinator.replicas else "unreachable"
        return ServerStatus(role, state, address, directory, *self._counts[role])

    def _pending(self) -> list[RelPath]:
        """Return what is not in sync, or may not be because it is being written, in the order of the names."""
        unsettled = {path for paths in self._coordinator.unsettled.values() for path in paths}
        return sorted(unsettled.union(self._coordinator.pending()))

    def _reason(self, path: RelPath) -> str:
        for role, paths in self._coordinator.unsettled.items():
            if path in paths:
                return f"is being written at {role.upper()}"
        pair = self._coordinator.pair
        for place, role in product((path, *ancestors(path)), Role):
            found = pair.views.get(role, place)
            if isinstance(found, Problem | Untracked):
                return f"at {role.upper()}: {found.reason}"
        trouble = pair.troubles.get(path)
        if trouble is not None:
            return trouble.reason
        if self._coordinator.ready != set(Role):
            return "waits for server B" if Role.B not in self._coordinator.ready else "waits for server A"
        return "is being synchronised"

    async def _wait(self, seconds: float) -> WaitReply:
        try:
            await asyncio.wait_for(self._coordinator.wait_in_sync(), None if seconds < 0 else seconds)
        except TimeoutError:
            return WaitReply(False, tuple(self._pending_reasons()) or ("both directories are still being looked at",))
        return WaitReply(True, ())

    def _pending_reasons(self) -> Iterable[str]:
        coordinator = self._coordinator
        for role in Role:
            if role in coordinator.paused:
                yield f"server {role.upper()} is paused: {coordinator.paused[role]}"
            elif role not in coordinator.ready:
                what = "being compared" if role in coordinator.replicas else "not connected"
                yield f"server {role.upper()} is {what}"
        pending = self._pending()
        for path in pending[:_REASONS_MAX]:
            yield f"{display(path)}: {self._reason(path)}"
        if len(pending) > _REASONS_MAX:
            yield f"and {len(pending) - _REASONS_MAX} more"

    async def _show_history(self, path: RelPath) -> HistoryReply:
        """Return the history to a person, who has looked at the conflicts of this path then."""
        reply = await self._history(path)
        shown = {version.id for version in reply.versions}
        await self._coordinator.conflicts.looked_at(path, shown, reply.unreachable)
        return reply

    async def _history(self, path: RelPath) -> HistoryReply:
        versions: list[Version] = []
        unreachable = []
        for role in Role:
            try:
                versions += await asyncio.wait_for(self._replica(role).history(path), LISTING_SECONDS)
            except (DirsyncError, TimeoutError):
                unreachable.append(role)
        return HistoryReply(tuple(sorted(versions, key=lambda v: v.kept_ns, reverse=True)), tuple(unreachable))

    async def _choose(self, path: RelPath, version: str, role: Role | None) -> tuple[Version, tuple[Role, ...]]:
        """Return the version that is meant, the named one, else the newest, and who else might keep a newer one."""
        reply = await self._history(path)
        for candidate in reply.versions:
            if version in ("", candidate.id) and role in (None, candidate.role):
                return candidate, () if version or role else reply.unreachable
        away = "".join(f" (server {r.upper()} could not be asked)" for r in reply.unreachable)
        what = f"no version {version}" if version else "no kept version"
        where = f" at {role.upper()}" if role else ""
        raise Refusal(f"{what} of {display(path)}{where}{away}; `dirsync history` lists what there is")

    def _replica(self, role: Role) -> FullReplica:
        replica = self._coordinator.replicas.get(role)
        if replica is None:
            raise Unreachable(f"server {role.upper()} is not connected")
        return replica


def _batches(items: Sequence[T], size_max: int) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), size_max):
        yield items[start : start + size_max]
