"""A FullReplica in memory: the contract of `dirsync.replica.interface` with nothing around it.

Edits of "people" are plain methods (write, mkdir, remove, chmod, link); each is settled and reported at once.
"""

import asyncio
from dataclasses import dataclass, replace

from blake3 import blake3

from dirsync.core.entry import Directory, File, Problem, Role, Symlink, same_content
from dirsync.core.paths import ancestors, is_below, is_between
from dirsync.core.reports import (
    Applied,
    Back,
    Change,
    ContentAt,
    ContentOfCapture,
    Failed,
    Look,
    Lost,
    Missing,
    Refused,
)
from dirsync.core.versions import Version, Why
from dirsync.errors import Refusal, RootLost
from dirsync.limits import INLINE_BYTES_MAX
from dirsync.replica.interface import unheard

ROWS_PER_BATCH = 3


def digest_of(content):
    return blake3(content).digest()


@dataclass(frozen=True)
class Standing:
    """An entry with its content, where it is a file."""

    entry: object
    content: bytes | None = None


ABSENT = Standing(None)


class FakeReplica:
    """One tree in memory. `lose_root` and `find_root` play a root that vanishes and comes back.

    Paths in `unread` are not in an inventory yet; `read_rest` tells them.
    """

    def __init__(self, role=Role.B):
        self._role = role
        self._tree = {}
        self._staged = {}
        self._versions = {}
        self._held = {}
        self._captures = {}
        self._given_captures = {}
        self._reports = []
        self._taken = 0
        self._serial = 0
        self._has_reports = asyncio.Event()
        self._clock_ns = 1_700_000_000_000_000_000
        self._is_lost = False
        self.applying = None
        self.unread = set()
        self.supply_bytes = 1000

    @property
    def role(self):
        return self._role

    @property
    def are_reports_taken(self):
        return not self._reports

    # What people do.

    def write(self, path, content, mode=0o644):
        self._clock_ns += 1_000_000
        file = File(digest_of(content), len(content), self._clock_ns, mode)
        self._edit(path, Standing(file, bytes(content)))

    def mkdir(self, path):
        self._edit(path, Standing(Directory(0o755)))

    def link(self, path, target):
        self._clock_ns += 1_000_000
        self._edit(path, Standing(Symlink(target, self._clock_ns)))

    def remove(self, path):
        self._edit(path, ABSENT)

    def chmod(self, path, mode):
        standing = self._tree[path]
        entry = standing.entry
        entry = entry._replace(mode=mode) if isinstance(entry, File) else replace(entry, mode=mode)
        self._edit(path, replace(standing, entry=entry))

    def read(self, path):
        standing = self._at(path)
        return standing.entry.target if isinstance(standing.entry, Symlink) else standing.content

    def lose_root(self, reason):
        self._is_lost = True
        self._report(Lost(reason))

    def find_root(self, is_new=False):
        self._is_lost = False
        self._report(Back(is_new))

    def read_rest(self):
        """Report what the inventory did not have."""
        for path in sorted(self.unread):
            self._report(Change(path, self._at(path).entry))
        self.unread.clear()

    # Replica.

    async def reports(self):
        while not self._reports:
            self._has_reports.clear()
            await self._has_reports.wait()
        reports, self._reports = self._reports, []
        self._taken += len(reports)
        return reports

    async def snapshot(self, believed=()):
        self._check_root()
        self._reports.clear()
        rows = [(path, standing.entry) for path, standing in self._tree.items() if path not in self.unread]
        rows += [(path, Problem("it has not been read yet")) for path in sorted(self.unread)]
        for start in range(0, len(rows), ROWS_PER_BATCH):
            yield rows[start : start + ROWS_PER_BATCH]
        self._taken = 0
        for number, (path, standing) in self._captures.items():
            self._report(Change(path, standing.entry, capture=number, given=self._given_captures.get(number, 0)))

    async def look(self, is_full):
        self._check_root()
        shown = [s.entry for s in self._tree.values() if not isinstance(s.entry, Directory)]
        size = sum(entry.size if isinstance(entry, File) else len(entry.target) for entry in shown)
        return Look((), len(shown), size, self._taken + len(self._reports))

    async def fetch(self, refs):
        return [self._content(ref) for ref in refs]

    async def supply(self, ref, offset):
        for start in range(offset, ref.entry.size, self.supply_bytes):
            content = self._content(ref)
            if content is None:
                raise Refusal("it is not that content any more")
            yield content[start : start + self.supply_bytes]

    async def stage(self, digest, size):
        return len(self._staged.get(digest, b""))

    async def put(self, digest, size, offset, chunks, arrived=unheard, base=None):
        if base is not None:
            raise Refusal("no base is kept here")
        staged = self._staged.setdefault(digest, bytearray())
        if offset > len(staged):
            raise Refusal("there is a gap before that")
        del staged[offset:]
        async for chunk in chunks:
            staged += chunk
            arrived(len(staged))
        if digest_of(staged) != digest:
            del self._staged[digest]
            return False
        return True

    async def apply(self, steps):
        self._check_root()
        if self.applying is not None:
            await self.applying.wait()
        results, broken = [], set()
        for step in steps:
            result = Failed("the step before it was not done") if step.action.path in broken else self._apply(step)
            results.append(result)
            if not isinstance(result, Applied):
                broken.add(step.action.path)
        return results

    # Comparing: contents are sent whole from here.

    async def manifest(self, digest):
        return None

    async def knows(self, digest):
        return False

    async def learn(self, digest, manifest):
        pass

    def differences(self, ref, offset, base):
        return self.supply(ref, offset)

    # Holding.

    async def hold(self, names):
        for name in names:
            self._held[name.path] = name.seen
            if self._at(name.path).entry != name.seen:
                self._capture(name.path)

    @property
    def held(self):
        """The names that it captures."""
        return set(self._held)

    async def hold_only(self, names, after, until):
        held = {name.path for name in names}
        if leaving := [path for path in self._held if path not in held and is_between(path, after, until)]:
            await self.unhold(leaving)
        await self.hold(names)

    async def unhold(self, paths):
        for path in paths:
            self._held.pop(path, None)
            unreleased = [number for number, (held, _) in self._captures.items() if held == path]
            for number in unreleased:
                del self._captures[number]
            if unreleased:
                self._report(Change(path, self._at(path).entry))

    @property
    def is_released(self):
        """Whether nothing captured is still to be acknowledged."""
        return not self._captures

    async def release(self, captures):
        for number in captures:
            self._captures.pop(number, None)

    # Keeping.

    async def history(self, path):
        return [version for version, _ in reversed(self._versions.values()) if version.path == path]

    async def restore(self, version):
        if version not in self._versions:
            raise Refusal(f"there is no version {version}")
        kept, standing = self._versions[version]
        self._keep(kept.path, Why.REPLACED)
        self._edit(kept.path, standing)
        return kept

    # Inside.

    def _at(self, path):
        return self._tree.get(path, ABSENT)

    def _check_root(self):
        if self._is_lost:
            raise RootLost("the directory is gone")

    def _put(self, path, standing):
        if standing.entry is None:
            self._tree.pop(path, None)
        else:
            self._tree[path] = standing

    def _edit(self, path, standing):
        if standing.entry is None:
            for below in [p for p in self._tree if is_below(p, path)]:
                self._edit(below, ABSENT)
        for above in ancestors(path):
            assert standing.entry is None or isinstance(self._at(above).entry, Directory), "make its directory first"
        self._put(path, standing)
        if path in self._held:
            self._capture(path)
            return
        content = standing.content
        inline = content if content is not None and len(content) <= INLINE_BYTES_MAX else None
        self._report(Change(path, standing.entry, inline, age_ms=0.5))

    def _capture(self, path):
        number = max(self._captures, default=0) + 1
        standing = self._at(path)
        self._captures[number] = path, standing
        self._held[path] = standing.entry
        self._report(Change(path, standing.entry, capture=number))

    def _report(self, report):
        if isinstance(report, Change):
            self._serial += 1
            report = replace(report, serial=self._serial)
        self._reports.append(report)
        self._has_reports.set()

    def _content(self, ref):
        match ref:
            case ContentAt():
                standing = self._at(ref.path)
            case ContentOfCapture():
                standing = self._captures.get(ref.capture, (None, ABSENT))[1]
            case _:
                standing = self._versions.get(ref.version, (None, ABSENT))[1]
        return standing.content if standing.entry == ref.entry else None

    def _keep(self, path, why):
        standing = self._at(path)
        if not isinstance(standing.entry, File | Symlink):
            return None
        version = f"{self._role}{len(self._versions) + 1}"
        self._versions[version] = (
            Version(version, self._role, path, standing.entry, self._clock_ns + len(self._versions), why),
            standing,
        )
        return version

    def _find(self, step):
        digest = step.action.intended.digest
        for content in [step.content, self._staged.get(digest)]:
            if content is not None and digest_of(content) == digest:
                return bytes(content)
        kept = [standing for _, standing in self._versions.values()]
        for standing in [*self._tree.values(), *kept]:
            if isinstance(standing.entry, File) and standing.entry.digest == digest:
                return standing.content
        return None

    def _apply(self, step):
        action = step.action
        present = self._at(action.path)
        source = self._at(action.renamed_from)
        if present.entry != action.expected:
            return Refused(present.entry, source.entry, self._serial)
        if action.renamed_from is not None and source.entry != action.expected_source:
            return Refused(present.entry, source.entry, self._serial)
        if action.intended is None and any(is_below(path, action.path) for path in self._tree):
            return Failed("the directory is not empty")
        if any(not isinstance(self._at(above).entry, Directory) for above in ancestors(action.path)):
            return Failed("its directory is not there")
        content = None
        if isinstance(action.intended, File) and (content := self._find(step)) is None:
            return Missing(action.intended.digest)
        kept = None
        if present.entry is not None and not same_content(present.entry, action.intended):
            gone = Why.DELETED if action.intended is None else Why.REPLACED
            kept = self._keep(action.path, Why.CONFLICT if action.is_conflict else gone)
        if action.renamed_from is not None:
            self._put(action.renamed_from, ABSENT)
        self._put(action.path, Standing(action.intended, content))
        return Applied(self._serial, kept, is_renamed=action.renamed_from is not None)
