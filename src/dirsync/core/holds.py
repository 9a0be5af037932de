"""The rules of a locked name: what becomes an update, in which order, and what an apply expects.

A hold remembers, for each replica, the last state of the name that was recorded. Whatever differs from it is new.
Pure: the queue in memory, the journal and the spool belong to the coordinator and the store.
"""

from collections import deque
from dataclasses import dataclass, field

from dirsync.core.entry import ChangeKind, Entry, File, Role, Symlink, mtime_of, same_content, size_of
from dirsync.core.paths import RelPath
from dirsync.limits import HELD_BYTES_MIN


@dataclass(frozen=True, slots=True)
class Update:
    """One held update: its row id in the journal, the replica it came from, and the state it asks for.

    `change` is what it made of the last state of its replica; `file` names its content in the spool, where it has one.
    """

    id: int
    origin: Role
    entry: Entry | None
    change: ChangeKind
    file: str | None
    received_ns: int

    @property
    def size(self) -> int:
        """The bytes of its content."""
        return size_of(self.entry)

    @property
    def held_size(self) -> int:
        """What it counts in the limit of all held updates together."""
        return held_size_of(self.entry)


@dataclass(slots=True)
class Hold:
    """A locked name.

    `seen[role]` is the last recorded state of the name in that replica; for A it is also what the next apply must
    find. Invariant: with an empty queue, `seen` of both is the state on which they agreed.
    """

    path: RelPath
    seen: dict[Role, Entry | None]
    updates: deque[Update] = field(default_factory=deque)
    is_draining: bool = False

    @property
    def depth(self) -> int:
        """How many updates wait."""
        return len(self.updates)

    def offer_b(self, entry: Entry | None, present_a: Entry | None) -> bool:
        """Return whether B's present state becomes an update; one on which both agree does not start a queue."""
        return entry != self.seen[Role.B] and (bool(self.updates) or entry != present_a)

    def offer_a(self, entry: Entry | None) -> bool:
        """Return whether A's present state becomes an update; while the queue is empty it goes to B as usual."""
        return bool(self.updates) and entry != self.seen[Role.A]

    def enqueue(self, update: Update) -> None:
        """Append an update that is durable."""
        self.updates.append(update)
        self.seen[update.origin] = update.entry

    def agree(self, entry: Entry | None) -> None:
        """Both replicas hold `entry` now, without an update."""
        assert not self.updates
        self.seen = {Role.A: entry, Role.B: entry}

    def next_group(self, updates_max: int, bytes_max: int, content_max: int) -> list[Update]:
        """Return the updates from the head on that one apply may give together, the head always.

        After a crash the file at the path tells which of them was given last, because each brings one of its own. One
        that does not (a deletion, new metadata) is given alone, and so is a content of more than `content_max` bytes.
        """
        group: list[Update] = []
        before, size = self.seen[Role.A], 0
        for update in self.updates:
            is_told_apart = is_replacing(before, update.entry) and update.size <= content_max
            if group and (not is_told_apart or len(group) == updates_max or size + update.size > bytes_max):
                break
            group.append(update)
            if not is_told_apart:
                break
            before, size = update.entry, size + update.size
        return group

    def applied(self) -> Update:
        """Remove the head: directory_a holds it now."""
        update = self.updates.popleft()
        self.seen[Role.A] = update.entry
        return update


def held_size_of(entry: Entry | None) -> int:
    """Return what a held state counts in the limit of all of them together."""
    return max(size_of(entry), HELD_BYTES_MIN)


def is_replacing(before: Entry | None, entry: Entry | None) -> bool:
    """Return whether another file or link is put in place of what stands there, instead of changing or removing it."""
    return isinstance(entry, File | Symlink) and not same_content(before, entry)


def is_own_first(own: Entry | None, other: Entry | None, is_comparison: bool) -> bool:
    """Return whether a state of A that is no update yet goes before one of B.

    It arrived first, so it does; only where a comparison finds both at once, the older modification time goes first
    (a tie: A).
    """
    return not is_comparison or mtime_of(own) <= mtime_of(other)
