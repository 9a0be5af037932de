"""What most disk tests do: make a file, know it, stage, apply, look."""

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dirsync.core.entry import Directory, Entry, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.disk.apply import Batch, Outcome, Prepared, apply_batch
from dirsync.disk.durability import BatchSync
from dirsync.disk.kept import KeptArea, path_hash
from dirsync.disk.probe import Settled, probe
from dirsync.disk.reading import digest_of
from dirsync.disk.root import Root
from dirsync.disk.staging import Staged, Staging
from dirsync.disk.unlocking import Unlocking

OLD_NS = 1_600_000_000_123_456_789


def file_entry(content: bytes, mtime_ns: int = OLD_NS, mode: int = 0o644) -> File:
    return File(digest_of(content), len(content), mtime_ns, mode)


def failing_at_first(call: Callable[..., None], times: int) -> Callable[..., None]:
    """Return a call that fails so often as a broken disk does, and then does what it should."""
    left = iter(range(times))

    def fail(*args: Any, **options: Any) -> None:
        if next(left, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        call(*args, **options)

    return fail


class Bench:
    def __init__(self, directory: Path, state: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.state = state
        self.root = Root.open(str(directory))
        self.staging = Staging(self.root, state)
        self.kept = KeptArea(state)
        self.unlocking = Unlocking(self.root, state)

    def close(self) -> None:
        self.staging.close()
        self.kept.close()
        self.root.close()

    def at(self, path: str | bytes) -> Path:
        return self.directory / os.fsdecode(path)

    def make(self, path: str, content: bytes = b"old", mode: int = 0o644) -> Known:
        """Make a file with an old time and return its index row."""
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        os.utime(target, ns=(OLD_NS, OLD_NS))
        return self.known(path)

    def known(self, path: str | bytes) -> Known:
        found = probe(self.root, RelPath(os.fsencode(path)), None, is_forced=True)
        assert isinstance(found, Settled), found
        # As if a while had passed since: the stat then proves the entry.
        return Known(found.entry, found.fingerprint, time.time_ns() + 10**9)

    def stage(self, path: str, entry: Entry, content: bytes = b"") -> Staged | None:
        where = RelPath(os.fsencode(path))
        match entry:
            case File():
                return self.staging.write(where, entry.digest, content)
            case Symlink():
                return self.staging.link(where, entry.target)
            case Directory():
                return None

    def prepare(
        self,
        path: str,
        known: Known | None,
        intended: Entry | None,
        content: bytes | None = None,
        *,
        is_conflict: bool = False,
    ) -> Prepared:
        staged = None if intended is None or content is None else self.stage(path, intended, content)
        expected = None if known is None else known.entry
        return Prepared(Action(RelPath(os.fsencode(path)), expected, intended, is_conflict), staged, known)

    def apply(
        self, *prepared: Prepared, is_ignored: Callable[[RelPath, bool], bool] = lambda *_: False
    ) -> list[Outcome]:
        return self.apply_all(*prepared, is_ignored=is_ignored).outcomes

    def apply_all(
        self,
        *prepared: Prepared,
        is_ignored: Callable[[RelPath, bool], bool] = lambda *_: False,
        note_names: Callable[[Sequence[RelPath]], None] = lambda _: None,
    ) -> Batch:
        parts = (self.root, self.staging, self.kept, self.unlocking)
        with (
            BatchSync(self.root, len(prepared), is_receiving=self.staging.is_receiving) as sync,
            apply_batch(*parts, prepared, sync, is_ignored, note_names) as batch,
        ):
            return batch

    def apply_one(self, prepared: Prepared) -> Outcome:
        return self.apply(prepared)[0]

    def kept_content(self, file: str) -> bytes:
        fd = self.kept.open(file)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)

    def staged_names(self) -> list[str]:
        return os.listdir(self.state / "staging")

    def path_of(self, *paths: str) -> Callable[[bytes], RelPath | None]:
        table = {path_hash(RelPath(os.fsencode(path))): RelPath(os.fsencode(path)) for path in paths}
        return table.get
