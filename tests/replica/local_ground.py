"""A local replica over a real directory, with what it said; for the tests of the near replica."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dirsync.core.entry import Observed, Role
from dirsync.core.events import EventName, Value
from dirsync.core.paths import RelPath, parse_path
from dirsync.core.reports import Change, Report
from dirsync.replica.local import LocalReplica
from dirsync.store.database import Database


def rel(text: str | bytes) -> RelPath:
    """Return a path of the tests."""
    return parse_path(os.fsencode(text))


@dataclass
class LocalGround:
    """The directory, the replica on it, and everything that was said."""

    root: Path
    state: Path
    replica: LocalReplica
    events: list[tuple[EventName, RelPath | None, Mapping[str, Value]]]
    seen: dict[RelPath, Observed] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def path(self, name: str | bytes) -> bytes:
        """Return where a name stands."""
        return os.path.join(os.fsencode(self.root), os.fsencode(name))

    def write(self, name: str | bytes, content: bytes = b"1") -> None:
        """Write a file in one go."""
        full = self.path(name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as stream:
            stream.write(content)

    def read(self, name: str | bytes) -> bytes:
        """Read a file."""
        with open(self.path(name), "rb") as stream:
            return stream.read()

    def names(self) -> list[bytes]:
        """Return everything in the directory."""
        top = os.fsencode(self.root)
        found = []
        for above, directories, files in os.walk(top):
            found += [os.path.relpath(os.path.join(above, name), top) for name in directories + files]
        return sorted(found)

    def of(self, name: EventName) -> list[tuple[RelPath | None, Mapping[str, Value]]]:
        """Return the events of one name."""
        return [(path, fields) for event, path, fields in self.events if event is name]

    async def snapshot(self) -> dict[RelPath, Observed]:
        """Take a snapshot; reports come from then on."""
        self.seen = {}
        async for batch in self.replica.snapshot():
            self.seen.update(batch)
        return self.seen

    async def next(self) -> list[Change]:
        """Wait for reports and return the changes among them."""
        got = await self.replica.reports()
        self.reports += got
        changes = [report for report in got if isinstance(report, Change)]
        self.seen.update((change.path, change.found) for change in changes)
        return changes

    async def until(self, path: str | bytes, wanted: type | tuple[type, ...] | None) -> Change:
        """Take reports until this path is reported as wanted (None: gone)."""
        while True:
            for change in await self.next():
                kind = type(None) if wanted is None else wanted
                if change.path == rel(path) and isinstance(change.found, kind):
                    return change

    async def drain(self) -> list[Change]:
        """Have it look, then take everything it has to report."""
        look = await self.replica.look(is_full=False)
        taken: list[Change] = []
        while len(self.replica._site.outbox._waiting):
            taken += await self.next()
        assert look.files == self.replica.files
        return taken


@asynccontextmanager
async def local_ground(base: Path, *, is_started: bool = True, **options: object) -> AsyncIterator[LocalGround]:
    """Lend a replica at work on `base/root`."""
    root, state = base / "root", base / "state"
    if not os.path.lexists(root):
        root.mkdir()
    events: list[tuple[EventName, RelPath | None, Mapping[str, Value]]] = []
    database = Database.open(state)
    try:
        replica = LocalReplica(
            Role.A,
            str(root),
            state,
            database,
            lambda name, path, fields: events.append((name, path, fields)),
            **options,
        )
        async with replica:
            ground = LocalGround(root, state, replica, events)
            if is_started:
                await ground.snapshot()
            yield ground
    finally:
        database.close()
