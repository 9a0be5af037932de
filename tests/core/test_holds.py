"""The rules of a held name: scenarios by name, and a state machine against a dict of deques."""

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dirsync.core.entry import ChangeKind, Entry, Role
from dirsync.core.holds import Hold, Update, is_own_first
from dirsync.core.paths import RelPath
from tests.support.trees import at, file, link

AGREED = file("agreed", 10)
ONE, TWO, THREE = file("one", 20), file("two", 30), file("three", 40)
HALF, OTHER_HALF, LARGE = file("h" * 50), file("i" * 50), file("l" * 61)


def hold(entry: Entry | None = AGREED) -> Hold:
    return Hold(at("f"), {Role.A: entry, Role.B: entry})


def update(number: int, origin: Role, entry: Entry | None) -> Update:
    return Update(number, origin, entry, ChangeKind.MODIFIED, None, 0)


def enqueue(held: Hold, origin: Role, entry: Entry | None) -> None:
    held.enqueue(update(held.depth + 1, origin, entry))


def queued(held: Hold) -> list[tuple[Role, Entry | None]]:
    return [(update.origin, update.entry) for update in held.updates]


def test_first_update_of_b() -> None:
    assert hold().offer_b(ONE, AGREED)


def test_deletion_is_an_update() -> None:
    assert hold().offer_b(None, AGREED)


def test_addition_is_an_update() -> None:
    assert hold(None).offer_b(ONE, None)


def test_state_already_recorded_is_none() -> None:
    held = hold()
    assert not held.offer_b(AGREED, AGREED)
    enqueue(held, Role.B, ONE)
    assert not held.offer_b(ONE, AGREED)


def test_return_to_an_earlier_state_is_another_update() -> None:
    held = hold()
    for entry in (ONE, AGREED, ONE):
        assert held.offer_b(entry, AGREED)
        enqueue(held, Role.B, entry)
    assert queued(held) == [(Role.B, ONE), (Role.B, AGREED), (Role.B, ONE)]


def test_edit_of_a_goes_to_b_while_the_queue_is_empty() -> None:
    assert not hold().offer_a(ONE)


def test_echo_of_an_edit_of_a_is_ignored() -> None:
    held = hold()
    assert not held.offer_b(ONE, ONE)
    held.agree(ONE)
    assert not held.offer_b(ONE, ONE)
    assert held.offer_b(TWO, ONE)


def test_edit_of_a_joins_once_b_has_updates() -> None:
    held = hold()
    enqueue(held, Role.B, ONE)
    assert held.offer_a(TWO)
    enqueue(held, Role.A, TWO)
    assert not held.offer_a(TWO)
    assert held.offer_b(THREE, TWO)


def test_the_same_state_as_a_s_joins_where_updates_wait() -> None:
    """The queue would overwrite A's state with older ones, so B's joins as the last word."""
    held = hold()
    enqueue(held, Role.B, ONE)
    assert held.offer_b(TWO, TWO)


@pytest.mark.parametrize(
    ("a", "b", "is_first"),
    [
        (ONE, TWO, True),
        (TWO, ONE, False),
        (file("x", 20), file("y", 20), True),
        (None, ONE, True),
        (ONE, None, False),
    ],
)
def test_of_both_found_in_a_comparison_the_older_goes_first(a: Entry | None, b: Entry | None, is_first: bool) -> None:
    assert is_own_first(a, b, is_comparison=True) is is_first
    assert is_own_first(a, b, is_comparison=False), "outside a comparison the arrival decides"


def test_drain_applies_in_order_and_expects_what_was_applied() -> None:
    held = hold()
    for entry in (ONE, TWO, None):
        enqueue(held, Role.B, entry)
    for entry, rest in ((ONE, 2), (TWO, 1), (None, 0)):
        assert held.applied().entry == entry
        assert held.seen[Role.A] == entry
        assert held.depth == rest
    assert held.seen[Role.B] is None


def test_drain_with_a_edited_in_between() -> None:
    held = hold()
    enqueue(held, Role.B, ONE)
    enqueue(held, Role.B, TWO)
    held.applied()
    enqueue(held, Role.A, THREE)
    assert [held.applied().entry for _ in range(2)] == [TWO, THREE]
    assert held.seen == {Role.A: THREE, Role.B: TWO}


def test_agreement_cannot_be_claimed_while_updates_wait() -> None:
    held = hold()
    enqueue(held, Role.B, ONE)
    with pytest.raises(AssertionError):
        held.agree(ONE)


NAMES = st.sampled_from([at("f"), at("d/g")])
STATES = st.sampled_from([None, ONE, TWO, THREE, file("one", 21), file("four", 5)])


@pytest.mark.parametrize(
    ("entries", "group"),
    [
        ([ONE, TWO, ONE, TWO], 3),
        ([ONE, None, TWO], 1),
        ([None, ONE], 1),
        ([file("agreed", 10, 0o600), ONE], 1),
        ([ONE, file("one", 20, 0o600), TWO], 1),
        ([link("here"), link("there"), ONE], 3),
        ([ONE, LARGE, TWO], 1),
        ([LARGE, ONE], 1),
        ([ONE, HALF, OTHER_HALF], 2),
    ],
    ids=["many", "deletion", "deleted", "bits", "bits later", "links", "large", "large first", "bytes"],
)
def test_what_one_apply_may_give(entries: list[Entry | None], group: int) -> None:
    held = hold()
    for entry in entries:
        enqueue(held, Role.B, entry)
    held.seen[Role.A] = AGREED
    found = held.next_group(updates_max=3, bytes_max=100, content_max=60)
    assert found == list(held.updates)[:group]


class HeldNames(RuleBasedStateMachine):
    """Two directories and their held names. The model is a deque of what must be applied, in order, per name."""

    def __init__(self) -> None:
        super().__init__()
        self.holds: dict[RelPath, Hold] = {}
        self.queues: dict[RelPath, deque[tuple[Role, Entry | None]]] = {}
        self.last: dict[RelPath, dict[Role, Entry | None]] = {}
        self.present: dict[RelPath, dict[Role, Entry | None]] = {}
        for path in (at("f"), at("d/g")):
            self.holds[path] = Hold(path, {Role.A: AGREED, Role.B: AGREED})
            self.queues[path] = deque()
            self.last[path] = {Role.A: AGREED, Role.B: AGREED}
            self.present[path] = {Role.A: AGREED, Role.B: AGREED}
        self.numbers = 0

    def expect(self, path: RelPath, role: Role) -> None:
        self.queues[path].append((role, self.present[path][role]))
        self.last[path][role] = self.present[path][role]

    def is_new(self, path: RelPath, role: Role) -> bool:
        return self.present[path][role] != self.last[path][role]

    def join(self, path: RelPath, role: Role) -> None:
        self.numbers += 1
        self.holds[path].enqueue(update(self.numbers, role, self.present[path][role]))

    def offer_b(self, path: RelPath, is_comparison: bool) -> None:
        """B's state is reported; A's present one, where nobody put it into the queue yet, has its place too."""
        held, present = self.holds[path], self.present[path]
        if held.offer_b(present[Role.B], present[Role.A]):
            found = [Role.B]
            if present[Role.A] != held.seen[Role.A]:
                found.insert(not is_own_first(present[Role.A], present[Role.B], is_comparison), Role.A)
            for role in found:
                self.join(path, role)
        elif not self.queues[path] and present[Role.A] == present[Role.B]:
            held.agree(present[Role.A])
            self.last[path] = dict(present)

    @rule(path=NAMES, entry=STATES)
    def b_changes(self, path: RelPath, entry: Entry | None) -> None:
        """B is edited and A is told at once."""
        self.present[path][Role.B] = entry
        is_agreed = not self.queues[path] and entry == self.present[path][Role.A]
        if self.is_new(path, Role.B) and not is_agreed:
            if self.is_new(path, Role.A):
                self.expect(path, Role.A)
            self.expect(path, Role.B)
        self.offer_b(path, is_comparison=False)

    @rule(path=NAMES, entry=STATES, is_seen=st.booleans())
    def a_changes(self, path: RelPath, entry: Entry | None, is_seen: bool) -> None:
        """A is edited; perhaps nobody has looked yet."""
        self.present[path][Role.A] = entry
        if is_seen:
            if self.queues[path] and self.is_new(path, Role.A):
                self.expect(path, Role.A)
            if self.holds[path].offer_a(entry):
                self.join(path, Role.A)

    @rule(path=NAMES)
    def a_reaches_b(self, path: RelPath) -> None:
        """The ordinary way of A's edits, open while nothing waits."""
        if not self.queues[path]:
            self.present[path][Role.B] = self.present[path][Role.A]
            self.offer_b(path, is_comparison=False)

    @rule(path=NAMES, entry=STATES)
    def b_changed_meanwhile(self, path: RelPath, entry: Entry | None) -> None:
        """B was edited while nobody watched; a comparison finds it, and what A became."""
        present = self.present[path]
        present[Role.B] = entry
        found = [role for role in Role if self.is_new(path, role)]
        found.sort(key=lambda role: 0 if present[role] is None else present[role].mtime_ns)
        is_ordinary = not self.queues[path] and (Role.B not in found or entry == present[Role.A])
        if Role.B in found and not is_ordinary:
            for role in found:
                self.expect(path, role)
        self.offer_b(path, is_comparison=True)

    @rule(path=NAMES)
    def drain_one(self, path: RelPath) -> None:
        """One step after an unlock."""
        if not self.queues[path]:
            return
        held, present = self.holds[path], self.present[path]
        if self.is_new(path, Role.A):
            self.expect(path, Role.A)
        if present[Role.A] != held.seen[Role.A]:
            self.join(path, Role.A)
        assert held.seen[Role.A] == present[Role.A], "the apply would be refused"
        update = held.applied()
        assert (update.origin, update.entry) == self.queues[path].popleft()
        present[Role.A] = self.last[path][Role.A] = update.entry

    @invariant()
    def queues_agree(self) -> None:
        for path, held in self.holds.items():
            assert queued(held) == list(self.queues[path])
            assert held.depth == len(self.queues[path])
            assert held.seen == self.last[path]
            numbers = [update.id for update in held.updates]
            assert numbers == sorted(set(numbers))


TestHeldNames = HeldNames.TestCase
