"""What the coordinator knows about the pair: the views, what is to be looked at, what went wrong.

Holds knowledge only; the loop and the lanes act on it. The base advances here and nowhere else.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from dirsync.coordinator.report_ages import ReportAges
from dirsync.core.emptied import give_back_if_empty
from dirsync.core.entry import Digest, Entry, File, Observed, Problem, Role, Symlink, Untracked, same_content
from dirsync.core.paths import RelPath, parent
from dirsync.core.plan import Arrival
from dirsync.core.tree import Tree
from dirsync.core.views import Views
from dirsync.limits import PENDING_INLINE_BYTES_MAX, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS


@dataclass(slots=True)
class Trouble:
    """Why a path could not be synchronised, how long until the next try, and whether people were told."""

    reason: str
    delay_seconds: float
    is_announced: bool
    is_waiting: bool = True


class Pair:
    """The knowledge about both replicas.

    `dirty` are paths to be planned. `record` is called for each advance of the base. `is_frozen` says of a path that
    its base must not advance by mere agreement (it has held updates). `known` are the replicas whose every path was
    observed: the others are only taken to stand at the base, which agrees with nothing. `arriving` has what the paths
    that are set aside will bring; `ages` tell which report of a replica is older than what was applied there.
    """

    def __init__(
        self,
        record: Callable[[RelPath, Entry | None], None],
        is_frozen: Callable[[RelPath], bool],
        known: AbstractSet[Role],
    ) -> None:
        self.views = Views()
        self.dirty: set[RelPath] = set()
        self.troubles: dict[RelPath, Trouble] = {}
        self._record = record
        self._is_frozen = is_frozen
        self._known = known
        self._inline: dict[tuple[Role, RelPath], bytes] = {}
        self._inline_bytes = 0
        self._detected: dict[RelPath, float] = {}
        self._busy: Counter[RelPath] = Counter()
        # By what is in their way: paths that are set aside, and contents that wait to arrive there.
        self._left: dict[RelPath, set[RelPath]] = {}
        self._awaited: dict[RelPath, set[Arrival]] = {}
        self.arriving: dict[Arrival, RelPath] = {}
        self._unanswered: dict[tuple[Role, RelPath], Entry | None] = {}
        self._digests: dict[Digest, int] = {}
        self.files = 0
        self.ages = {role: ReportAges() for role in Role}

    def load(self, base: Tree[Entry]) -> None:
        """Start from a recorded base; what each replica holds is unknown yet."""
        self.views = Views(base)
        kinds = Counter(type(entry) for _, entry in base.items())
        self.files = kinds[File] + kinds[Symlink]
        self._digests = Counter(entry.digest for _, entry in base.items() if isinstance(entry, File))

    def first_run(self) -> None:
        """Forget the base: everything that stands anywhere now is an addition, nothing a deletion."""
        old, self.views = self.views, Views()
        self._digests, self.files = {}, 0
        for path in old.paths():
            for role in Role:
                self.views.observe(role, path, old.get(role, path))
        self.plan_all()

    def observe(self, role: Role, path: RelPath, found: Observed, at_seconds: float) -> None:
        """Take note of what stood at `path` at that (monotonic) time.

        If both replicas hold the same now, that is the new base.
        """
        if self._unanswered:
            self._take_answer(role, path, found)
        views = self.views
        if views.is_unchanged(path, found) and not (self._left or self.troubles or self._inline):
            return
        if self._inline and not same_content(views.get(role, path), found):
            self._drop_inline(role, path)
        other = role.other
        is_same = other in self._known and found == views.get(other, path)
        if is_same and not isinstance(found, Untracked | Problem) and not self._is_frozen(path):
            self._agreed(path, found)
        else:
            views.observe(role, path, found)
            if views.is_open(path):
                self.replan(path)
                self._detected.setdefault(path, at_seconds)
            else:
                self._settled(path)
        above = parent(path)
        if above and views.is_open(above):
            self.dirty.add(above)

    def observe_all(self, role: Role, rows: Iterable[tuple[RelPath, Observed]], at_seconds: float) -> None:
        """Take note of many, as `observe`: of a whole tree most is unchanged, and costs next to nothing."""
        has_more_to_do = self._unanswered or self._left or self.troubles or self._inline
        for path, found in rows if has_more_to_do else self.views.news(rows):
            self.observe(role, path, found, at_seconds)

    def believed(self, role: Role) -> Iterator[tuple[RelPath, Observed]]:
        """Yield what the replica is taken to hold; before its first inventory that is what the other one holds."""
        return self.views.standing(role if len(self.views.base) else role.other)

    def _agreed(self, path: RelPath, entry: Entry | None) -> None:
        """Both hold this now: one step, for a first start has nothing else to do."""
        old = self.views.base.get(path)
        self.views.agree(path, entry)
        self._settled(path)
        if old != entry:
            self._count(old, -1)
            self._count(entry, 1)
            self._record(path, entry)

    def record(self, path: RelPath, entry: Entry | None) -> None:
        """Advance the base."""
        old = self.views.base.get(path)
        if old == entry:
            return
        self._count(old, -1)
        self._count(entry, 1)
        self.views.record(path, entry)
        if not self.views.is_open(path):
            self._settled(path)
        self._record(path, entry)

    def agree(self, path: RelPath, entry: Entry | None) -> None:
        """Advance the base to what both replicas have held, though one may hold something newer by now."""
        if not self._is_frozen(path):
            self.record(path, entry)

    def note_unanswered(self, role: Role, shared: Mapping[RelPath, Entry | None]) -> None:
        """The replica was told to hold these, as the other one did then, and was lost before it answered.

        What it is found to hold of that at the next comparison was given to it: not an addition of its own, which
        would bring back what the other one has deleted since.
        """
        self._unanswered.update(((role, path), entry) for path, entry in shared.items())

    def compared(self) -> None:
        """Everything that both replicas hold has been observed: what hindered before is tried anew."""
        self.troubles.clear()
        unread = [key for key in self._unanswered if isinstance(self.views.get(*key), Problem)]
        self._unanswered = {key: self._unanswered[key] for key in unread}

    def _take_answer(self, role: Role, path: RelPath, found: Observed) -> None:
        if isinstance(found, Problem):
            return  # what stands there is told later
        key = (role, path)
        if key in self._unanswered and self._unanswered.pop(key) == found and not isinstance(found, Untracked):
            self.agree(path, found)

    def forget(self, role: Role) -> None:
        """Drop what was observed of a replica that cannot be reached any more."""
        was_open = set(self.views.opened())
        self.views.forget(role)
        for path in was_open.difference(self.views.opened()):
            self._settled(path)

    def _settled(self, path: RelPath) -> None:
        self.replan(path)
        self.troubles.pop(path, None)
        self._detected.pop(path, None)
        if self._inline:
            for role in Role:
                self._drop_inline(role, path)

    def is_agreed_content(self, digest: Digest) -> bool:
        """Return whether both replicas are known to hold this content somewhere."""
        return digest in self._digests

    def _count(self, entry: Entry | None, step: int) -> None:
        if isinstance(entry, File | Symlink):
            self.files += step
        if isinstance(entry, File):
            count = self._digests.get(entry.digest, 0) + step
            if count:
                self._digests[entry.digest] = count
            else:
                self._digests.pop(entry.digest, None)

    def keep_inline(self, role: Role, path: RelPath, content: bytes) -> None:
        """Keep content that came with a report, within bounds; it is fetched again where it was not kept."""
        self._drop_inline(role, path)
        if self._inline_bytes + len(content) <= PENDING_INLINE_BYTES_MAX:
            self._inline[role, path] = content
            self._inline_bytes += len(content)

    def inline(self, role: Role, path: RelPath) -> bytes | None:
        """Return the content of what stands at `path`, if it came with a report and was kept."""
        return self._inline.get((role, path))

    def _drop_inline(self, role: Role, path: RelPath) -> None:
        self._inline_bytes -= len(self._inline.pop((role, path), b""))

    def detected_seconds(self, path: RelPath, now_seconds: float) -> float:
        """Return when the change that keeps `path` open was first seen; now, where nothing does."""
        return self._detected.get(path, now_seconds)

    def is_busy(self, path: RelPath) -> bool:
        """Return whether an action on `path` was dispatched and has not ended."""
        return path in self._busy

    @property
    def is_idle(self) -> bool:
        """Whether nothing is dispatched and nothing waits to be planned."""
        return not self._busy and not self.dirty

    def begin(self, paths: Iterable[RelPath]) -> None:
        """Mark these as being worked on."""
        self._busy.update(paths)

    def end(self, paths: Iterable[RelPath]) -> None:
        """The work on these has ended; what was left because of it is planned again, also where it has failed."""
        for path in paths:
            self._busy[path] -= 1
            if not self._busy[path]:
                del self._busy[path]
            if self.is_waiting(path):
                self._release(path)
            else:
                self.replan(path)
        give_back_if_empty(self._busy, self._detected, self.arriving, self._awaited)

    def is_waiting(self, path: RelPath) -> bool:
        """Return whether `path` failed, and its next try is not due yet."""
        trouble = self.troubles.get(path)
        return trouble is not None and trouble.is_waiting

    def retry(self, path: RelPath) -> None:
        """Have `path` planned again now, after its failure."""
        trouble = self.troubles.get(path)
        if trouble is not None:
            trouble.is_waiting = False
        self.replan(path)

    def replan(self, path: RelPath) -> None:
        """Something became of `path`: it is planned again if it is open, and so is what was left because of it."""
        if self.views.is_open(path):
            self.dirty.add(path)
        self._release(path)

    def _release(self, path: RelPath) -> None:
        """Have planned again what was left because of `path`."""
        left = self._left.pop(path, None)
        if left is None:
            return
        self.dirty |= left
        for content in self._awaited.pop(path, ()):
            if self.arriving.get(content) == path:
                del self.arriving[content]

    def plan_all(self) -> None:
        """Have everything planned again that is open."""
        self.dirty |= self.views.open_paths
        self._left.clear()
        self._awaited.clear()
        self.arriving.clear()

    def leave(self, hindered: Mapping[RelPath, RelPath], arriving: Mapping[Arrival, RelPath]) -> None:
        """Set paths aside until something becomes of what is in their way, and remember what is to arrive by then."""
        for path, hindrance in hindered.items():
            self._left.setdefault(hindrance, set()).add(path)
        for content, hindrance in arriving.items():
            self._awaited.setdefault(hindrance, set()).add(content)
            self.arriving[content] = hindrance

    def note_trouble(self, path: RelPath, reason: str, is_announced: bool) -> Trouble:
        """Note that `path` failed; each failure in a row doubles the time to the next try."""
        before = self.troubles.get(path)
        delay = min(before.delay_seconds * 2, RETRY_MAX_SECONDS) if before else RETRY_FIRST_SECONDS
        self.troubles[path] = Trouble(reason, delay, is_announced)
        return self.troubles[path]
