"""Each checker of the simulation can fail, and does not where nothing is wrong."""

import pytest
from blake3 import blake3

from dirsync.core.entry import File, Role
from dirsync.core.events import Event, EventName
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.versions import Why
from dirsync.disk.root import fingerprint_of
from dirsync.store import index_rows, version_rows
from tests.sim import checkers
from tests.sim.losses import replace_machine
from tests.sim.plan import make_plan
from tests.sim.power import Found
from tests.sim.runner import Place, made
from tests.sim.servers import state_of
from tests.sim.trees import remove_below

X = b"x"


class Stage:
    """A world in which nothing runs: people act, and somebody who is no person meddles."""

    def __init__(self, world):
        self.world = world
        for server in world.servers.values():
            server.process = object()
            server.database.open()
            self.makes_directory(server.name, b"versions")

    def writes(self, side, name=X):
        """A person writes a file; return its content."""
        self.does(side, self.world.people[side]._written(name, 0, self.world.people[side]._fresh(20)))
        return self.node(side, name).data

    def deletes(self, side, name=X):
        self.does(side, self.world.people[side]._delete(name, name))

    def does(self, side, steps):
        with self.world.acting(side):
            for _ in steps:
                pass

    def copies(self, content, side, name=X):
        """The product, or chance, puts a content somewhere."""
        root = self.world.root(side)
        root.fs.rename([(root, name, None, root.fs.make(0o100644, content))])

    def rewrites(self, side, content):
        """The product, or chance, changes a content in its place."""
        node = self.node(side)
        node.fs.change(node)
        node.fs.set_data(node, content)

    def makes_directory(self, side, name):
        """Return a new directory in a state directory."""
        state = self.world.disk.find(state_of(side).encode())
        directory = state.fs.make(0o40700)
        state.fs.rename([(state, name, None, directory)])
        return directory

    def keeps(self, side, content, why, name=X):
        """A server has set this aside."""
        versions = self.world.disk.find(f"{state_of(side)}/versions".encode())
        versions.fs.rename([(versions, b"kept", None, versions.fs.make(0o100644, content))])
        entry = File(blake3(content).digest(), len(content), 0, 0o644)
        with self.world.servers[side].database.opened.transaction() as connection:
            version_rows.add(connection, RelPath(name), entry, kept_ns=0, why=why, file="kept")

    def node(self, side, name=X):
        return self.world.root(side).children[name]

    @property
    def broken(self):
        """The checker that has found something."""
        return None if self.world.violation is None else self.world.violation.checker


@pytest.fixture(scope="module")
def place():
    with Place() as place:
        yield place


@pytest.fixture
def stage(place):
    with made(make_plan(1, has_faults=False), place) as world:
        stage = Stage(world)
        yield stage
        for server in world.servers.values():
            server.database.kill()


@pytest.mark.parametrize(
    ("seconds", "is_another", "broken"), [(0.0, False, None), (1.0, False, "durable"), (1.0, True, None)]
)
def test_a_name_that_a_row_rests_on_is_durable_but_while_an_apply_gives_it_back(stage, seconds, is_another, broken):
    stage.copies(b"content", "b")
    node, root, durable = stage.node("b"), stage.world.root("b"), stage.world.durable
    node.is_persons = False
    known = Known(File(blake3(node.data).digest(), len(node.data), 0, 0o644), fingerprint_of(node.status()), 0)
    with stage.world.servers["b"].database.opened.transaction() as connection:
        index_rows.save(connection, [(RelPath(X), known)])
    root.fs.sync()
    root.fs.rename([(root, X, node, None)])
    root.fs.rename([(root, X, None, node)])
    stage.world.loop.now += seconds
    node.ctime_ns += is_another  # one with the same content to which the number of the one in the row has come
    durable.before_cut("b")
    root.fs.rename([(root, X, node, None)])
    durable.after_cut("b")
    assert stage.broken == broken


def test_honest_compares_what_was_done_before_the_question(stage):
    stage.writes("a")
    stage.world.honest.waited(stage.world.loop.time())
    assert stage.broken is None, "done at the very moment of the question"
    stage.world.honest.waited(stage.world.loop.time() + 1)
    assert stage.broken == "honest"


def test_honest_gives_in_sync_the_time_of_a_scan(stage):
    stage.writes("a")
    stage.world.said(Event(0, Role.A, EventName.IN_SYNC))
    assert stage.broken is None
    stage.world.loop.now += checkers.UNSEEN_SECONDS + 1
    stage.world.said(Event(0, Role.A, EventName.IN_SYNC))
    assert stage.broken == "honest"


def test_torn_sees_half_of_what_somebody_wrote(stage):
    content = stage.writes("a")
    stage.copies(content, "b")
    stage.world.torn.look()
    assert stage.broken is None
    stage.copies(content[:7], "b", b"y")
    stage.world.torn.look()
    assert stage.broken == "torn"


def test_a_draft_may_be_seen_where_it_is_written_and_elsewhere_once_it_was_quiet(stage):
    ledger = stage.world.ledger
    ledger.changed("a", {}, {X: b"half"}, at=10.0)
    assert ledger.may_stand(b"half", "a", at=10.0)
    assert not ledger.may_stand(b"half", "b", at=10.9)
    assert ledger.may_stand(b"half", "b", at=11.0)


def test_a_draft_that_was_quiet_may_be_seen_elsewhere_also_when_a_power_cut_has_taken_it(stage):
    ledger = stage.world.ledger
    ledger.changed("b", {}, {X: b"h"}, at=10.0)
    ledger.gone("b", {b"h"}, at=11.0)
    ledger.changed("b", {X: b""}, {X: b"", b"y": b"h"}, at=11.1)
    assert ledger.may_stand(b"h", "a", at=11.2)


@pytest.mark.parametrize("breach", ["", "shrinks", "pauses"])
def test_a_draft_may_be_seen_elsewhere_where_its_file_has_only_grown_for_long(stage, breach):
    ledger = stage.world.ledger
    at, content = 10.0, b"1"
    ledger.changed("a", {}, {X: content}, at=at)
    while at < 13.0:
        at += 0.5
        if at == 11.5 and breach == "pauses":
            at += 2.0
        longer = b"another" if at == 12.0 and breach == "shrinks" else content + b"%.1f" % at
        ledger.changed("a", {X: content}, {X: longer}, at=at)
        content = longer
    assert ledger.may_stand(content, "b", at=at) is not bool(breach)


def test_loss_is_what_nobody_destroyed_and_nobody_has(stage):
    content = stage.writes("a")
    stage.copies(content, "b")
    checkers.check_loss(stage.world)
    assert stage.broken is None
    remove_below(stage.world.root("b"))
    checkers.check_loss(stage.world)
    assert stage.broken == "loss"


def test_what_a_person_deleted_is_no_loss(stage):
    stage.writes("a")
    stage.deletes("a")
    checkers.check_loss(stage.world)
    assert stage.broken is None


@pytest.mark.parametrize("is_theirs", [False, True])
def test_what_was_set_aside_as_deleted_was_deleted_by_somebody(stage, is_theirs):
    content = stage.writes("a")
    stage.keeps("a", content, Why.DELETED)
    if is_theirs:
        stage.deletes("a")
    else:
        remove_below(stage.world.root("a"))
    checkers.check_deletions(stage.world)
    assert stage.broken == (None if is_theirs else "deletion")


@pytest.mark.parametrize("name", [X, b"moved"])
def test_what_was_deleted_by_nobody_counts_although_it_is_back_but_not_where_it_went_along(stage, name):
    content = stage.writes("a")
    stage.keeps("b", content, Why.DELETED)
    stage.world.root("a").fs.rename([(stage.world.root("a"), X, stage.node("a"), None)])
    for side in "ab":
        stage.copies(content, side, name)
    checkers.check_deletions(stage.world)
    assert stage.broken == ("deletion" if name == X else None)


def test_a_version_that_has_lost_its_name_is_no_version(stage):
    stage.keeps("a", stage.writes("a"), Why.REPLACED, checkers.RECOVERED + b"0123")
    checkers.check_loss(stage.world)
    assert stage.broken == "kept"


def test_what_stood_on_a_machine_that_is_replaced_is_lost_only_where_it_stood_nowhere_else(stage):
    world = stage.world
    here, both = stage.writes("b", b"y"), stage.writes("b")
    stage.copies(both, "a")
    replace_machine(world, world.servers["b"])
    assert not world.tree("b")
    assert world.ledger.values[here].excuse
    assert not world.ledger.values[both].excuse


@pytest.mark.parametrize("is_recorded", [False, True])
def test_only_what_was_never_recorded_may_go_with_the_power(stage, is_recorded):
    world, content = stage.world, stage.writes("a")
    server = world.servers["a"]
    if is_recorded:
        stage.keeps("a", content, Why.DELETED)
    world.before_power_cut(server)
    remove_below(world.root("a"))
    world.after_power_cut(server, Found(frozenset({content}), frozenset()))
    assert bool(world.ledger.values[content].excuse) is not is_recorded


def test_convergence_compares_the_trees(stage):
    stage.writes("a")
    checkers.check_convergence(stage.world)
    assert stage.broken == "convergence"


def test_convergence_compares_the_archive(stage):
    content = stage.writes("a")
    stage.copies(content, "b")
    stage.node("b").mtime_ns = stage.node("a").mtime_ns
    checkers.check_convergence(stage.world)
    assert stage.broken == "archive"


def test_invention_is_a_content_that_nobody_wrote(stage):
    stage.writes("a")
    checkers.check_invention(stage.world)
    assert stage.broken is None
    stage.copies(b"nobody wrote this", "b")
    checkers.check_invention(stage.world)
    assert stage.broken == "invention"


def test_bounds_find_what_was_left_in_a_state_directory(stage):
    spool = stage.makes_directory("a", b"spool")
    spool.fs.rename([(spool, b"file", None, spool.fs.make(0o100600, b"left over"))])
    checkers.check_bounds(stage.world)
    assert stage.broken == "bounds"


def test_a_locked_name_may_be_changed_by_people_at_a_only(stage):
    locks = stage.world.locks
    stage.writes("a")
    locks.answered(X, locks.asked(X))
    stage.writes("a")
    locks.check()
    assert stage.broken is None
    stage.rewrites("a", b"from b")
    locks.check()
    assert stage.broken == "lock"


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_what_is_applied_may_go_along_with_a_directory_that_is_moved_in_that_moment(stage, seconds):
    locks, person, name = stage.world.locks, stage.world.people["a"], b"d/s/x"
    locks.answered(name, locks.asked(name))
    stage.does("a", person._written(b"e/x", 0, person._fresh(20)))
    stage.does("a", person._make_directory(b"d", b"d"))
    stage.does("a", person._rename_directory(b"e", b"d/s"))
    locks.check()
    stage.world.loop.now += seconds
    directory = stage.node("a", b"d").children[b"s"]
    directory.fs.rename([(directory, b"x", directory.children[b"x"], None)])
    locks.check()
    assert stage.broken == ("lock" if seconds else None)


def test_what_is_unlocked_may_be_changed_by_anybody(stage):
    locks = stage.world.locks
    stage.writes("a")
    before = locks.asked(X)
    locks.unlock_asked(X)
    locks.answered(X, before)
    stage.rewrites("a", b"from b")
    locks.check()
    assert stage.broken is None


@pytest.mark.parametrize("is_answered_in_time", [False, True])
def test_an_unlock_that_was_on_its_way_may_end_a_lock_that_was_asked_for_after_it(stage, is_answered_in_time):
    locks = stage.world.locks
    stage.writes("a")
    locks.unlock_asked(X)
    if is_answered_in_time:
        locks.unlock_answered(X)
    before = locks.asked(X)
    if not is_answered_in_time:
        locks.unlock_answered(X)
    locks.answered(X, before)
    stage.rewrites("a", b"from b")
    locks.check()
    assert stage.broken == ("lock" if is_answered_in_time else None)
