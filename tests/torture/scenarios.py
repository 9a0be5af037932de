"""What happens while a server dies: each scenario prepares a home, and is then told with the victim under watch.

`prepare` runs with both servers up and in sync on the seed; `act` is the person's work, from which the points are
counted. What must stand at both sides at the end is said by a model: the same work done on a plain directory.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dirsync.store import schema
from tests.torture.home import date, put
from tests.torture.play import Play

Work = Callable[[Path], None]
LARGE = b"large content " * 40_000
"""Beyond what travels inside a message: it goes through the bulk connection, in chunks."""


def _nothing(_play: Play) -> None:
    return


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `kept` names, for each role, contents that must be among its kept versions at the end.

    `is_at_start`: the points are those of the victim's start; `is_alone`: the other server comes later. `between` is
    done while no server runs. What both must hold at the end is `model` done to a copy of what was prepared.
    """

    name: str
    victim: str
    act: Callable[[Play], None]
    prepare: Callable[[Play], None] = _nothing
    between: Callable[[Play], None] = _nothing
    model: Work | None = None
    kept: dict[str, list[bytes]] = field(default_factory=dict)
    check: Callable[[Play], None] = _nothing
    is_at_start: bool = False
    is_alone: bool = False
    before: Callable[[], None] | None = None


def seed(root: Path) -> None:
    """Put there what every scenario begins with."""
    put(root, "f", b"old f", 1)
    put(root, "g", b"old g, longer", 2)
    put(root, "run", b"#!/bin/sh\n", 3, 0o755)
    put(root, "dir/x", b"x in dir", 4)
    put(root, "dir/deep/y", b"y in dir/deep", 5)
    put(root, "other/z", b"z in other", 6)
    put(root, "large", LARGE, 7)
    put(root, "to_directory", b"becomes a directory", 8)
    (root / "link").symlink_to("f")
    (root / "out").symlink_to("../outside/secret")


# One file, and many


def _modify(root: Path) -> None:
    put(root, "f", b"new content of f", 100)


def _mix(root: Path) -> None:
    put(root, "added", b"added here", 101)
    put(root, "sub/new/inner", b"in new directories", 102)
    put(root, "f", b"new content of f", 103)
    put(root, "large", LARGE + b"and more", 104)
    put(root, "far/large too", LARGE[::-1], 105)
    (root / "run").chmod(0o700)
    date(root / "g", 106)
    (root / "dir/x").rename(root / "other/x moved")
    (root / "link").unlink()
    (root / "link").symlink_to("other/z")
    (root / "fresh link").symlink_to("nowhere")
    (root / "to_directory").unlink()
    put(root, "to_directory/inside", b"in what was a file", 107)
    shutil.rmtree(root / "dir/deep")
    put(root, "dir/deep", b"was a directory", 108)
    (root / "read only").mkdir()
    put(root, "read only/leaf", b"in a read-only directory", 109)
    (root / "read only").chmod(0o555)
    (root / "other").chmod(0o700)


def _many(root: Path) -> None:
    for number in range(50):
        put(root, f"many/{number:02}", b"number %d" % number, 200 + number)


def _delete(root: Path) -> None:
    (root / "f").unlink()
    (root / "link").unlink()
    shutil.rmtree(root / "dir")


def _leave_ignored(role: str) -> Callable[[Play], None]:
    def prepare(play: Play) -> None:
        play.put(role, "dir/.DS_Store", b"ignored, and alone here")
        play.put(role, "dir/deep/Thumbs.db", b"ignored too")

    return prepare


def _hard_links(role: str) -> Callable[[Play], None]:
    """Further names outside, which would go on changing what is kept: it has to be copied."""

    def prepare(play: Play) -> None:
        directory = play.home.directory(role)
        for name in ("f", "large"):
            os.link(directory / name, play.home.outside / f"{name} elsewhere")

    return prepare


def _edit(role: str, work: Work) -> Callable[[Play], None]:
    def act(play: Play) -> None:
        work(play.home.directory(role))
        play.note_values()
        play.settle()

    return act


# Locks

STATES: list[bytes | None] = [b"first", b"second one", None, b"first", b"the last state"]
"""What B's file goes through while it is locked; None is its deletion, and one state comes twice."""


def _lock(play: Play) -> None:
    play.ask("lab3", "lock", "f")


def _become(play: Play, number: int) -> None:
    """Bring B's file into this state."""
    state = STATES[number]
    if state is None:
        (play.home.directory("b") / "f").unlink()
    else:
        play.put("b", "f", state, 300 + number)


def _update(play: Play, number: int) -> None:
    """Bring B's file into this state, and wait until that is held at A."""
    _become(play, number)
    play.wait_queued(number + 1)


def _update_all(play: Play) -> None:
    for number in range(len(STATES)):
        _update(play, number)


def _locked_and_updated(play: Play) -> None:
    _lock(play)
    _update_all(play)
    play.settle()


def _act_enqueue(play: Play) -> None:
    _update_all(play)
    play.settle()


def _act_outbox(play: Play) -> None:
    """A is away: B captures by itself, and A gets all of it, in order, when it is back."""
    play.kill("a")
    for number in range(len(STATES)):
        _become(play, number)
        play.wait_captured(number + 1)
    play.start("a")
    play.wait_ready("a")
    play.settle()


def _locked_and_joined(play: Play) -> None:
    """A's own edit joins the queue once B has an update waiting there."""
    _lock(play)
    _update(play, 0)
    play.put("a", "f", b"joined by a", 350)
    play.wait_queued(2)
    play.put("b", "f", b"after a", 351)
    play.wait_queued(3)
    play.settle()


def _check_joined(play: Play) -> None:
    assert play.locks() == {}
    assert play.home.kept("a", b"f") == [b"joined by a", b"first", b"joined by a"], play.home.kept("a", b"f")
    assert (play.home.directory("a") / "f").read_bytes() == b"after a"
    _check_over(play)


def _act_lock(play: Play) -> None:
    _lock(play)
    _update(play, 0)
    play.settle()


def _act_unlock(play: Play) -> None:
    while "f" in play.locks():
        status, text = play.try_command("lab3", "unlock", "f")
        assert status in (0, None) or "not locked" in text, text
    play.settle()


def _sizes(states: list[bytes | None]) -> list[int]:
    return [len(state or b"") for state in states]


def _check_held(states: list[bytes | None]) -> Callable[[Play], None]:
    """The lock and its queue are as they were: complete, in order, each once; then the unlock applies all of it."""

    def check(play: Play) -> None:
        assert play.locks() == {"f": _sizes(states)}, play.locks()
        assert (play.home.directory("a") / "f").read_bytes() == b"old f", "a locked file was changed at A"
        _act_unlock(play)
        _check_drained(states)(play)

    return check


def _check_drained(states: list[bytes | None]) -> Callable[[Play], None]:
    """Every state stood at A once, in order: what was replaced there says so."""

    def check(play: Play) -> None:
        assert play.locks() == {}, play.locks()
        stood = [state for state in [b"old f", *states[:-1]] if state is not None]
        assert play.home.kept("a", b"f") == stood, play.home.kept("a", b"f")
        assert (play.home.directory("a") / "f").read_bytes() == states[-1]
        _check_over(play)

    return check


def _check_over(play: Play) -> None:
    """The lock has ended everywhere: B's next edit is an ordinary one. (If B was away it learns of the end by that.)"""
    play.put("b", "f", b"an ordinary edit", 399)
    play.settle()
    assert (play.home.directory("a") / "f").read_bytes() == b"an ordinary edit"


# Both changed, and states that are new


def _part(play: Play) -> None:
    """Both sides work while no server runs."""
    play.put("a", "f", b"f of a, the newer", 401)
    play.put("b", "f", b"f of b", 400)
    play.put("a", "g", b"g of a", 402)
    play.put("b", "g", b"g of b, the newer", 403)
    play.put("a", "both", b"new at both, a", 405)
    play.put("b", "both", b"new at both, b", 404)
    play.put("a", "dir/x", b"changed here, deleted there", 406)
    (play.home.directory("b") / "dir/x").unlink()
    (play.home.directory("a") / "other/z").unlink()
    (play.home.directory("b") / "run").chmod(0o711)
    play.put("b", "only/b", b"only at b", 407)
    play.put("a", "only/a", b"only at a", 408)


def _parted(root: Path) -> None:
    put(root, "f", b"f of a, the newer", 401)
    put(root, "g", b"g of b, the newer", 403)
    put(root, "both", b"new at both, a", 405)
    put(root, "dir/x", b"changed here, deleted there", 406)
    (root / "other/z").unlink()
    (root / "run").chmod(0o711)
    put(root, "only/b", b"only at b", 407)
    put(root, "only/a", b"only at a", 408)


_PARTED_KEPT = {
    "a": [b"g of a"],
    "b": [b"f of b", b"new at both, b", b"z in other"],
}


def _forget(*roles: str) -> Callable[[Play], None]:
    """The state of servers is gone, and both sides have worked: what one lacks is no deletion."""

    def between(play: Play) -> None:
        for role in roles:
            shutil.rmtree(play.home.state / role)
        if len(roles) == 2:
            (play.home.state / "key.pem").unlink()
        play.put("a", "f", b"f of a, the newer", 401)
        play.put("b", "f", b"f of b", 400)
        play.put("b", "only/b", b"only at b", 407)
        play.put("a", "only/a", b"only at a", 408)
        (play.home.directory("a") / "g").unlink()
        (play.home.directory("b") / "dir/x").unlink()

    return between


def _united(root: Path) -> None:
    put(root, "f", b"f of a, the newer", 401)
    put(root, "only/b", b"only at b", 407)
    put(root, "only/a", b"only at a", 408)


def _act_start(play: Play) -> None:
    play.settle()


def _new_root(role: str) -> Callable[[Play], None]:
    """The directory is moved away under the running server, and an empty one takes its place."""

    def act(play: Play) -> None:
        directory = play.home.directory(role)
        directory.rename(play.home.path / "moved away")
        directory.mkdir()
        play.settle()

    return act


def _emptied(role: str) -> Callable[[Play], None]:
    """The directory lost all its files while no server ran: no wish to delete."""

    def between(play: Play) -> None:
        directory = play.home.directory(role)
        shutil.rmtree(directory)
        directory.mkdir()

    return between


def _unchanged(_root: Path) -> None:
    return


# Versions, and the tables


def _change_and_delete(play: Play) -> None:
    play.put("a", "f", b"a mistake", 500)
    (play.home.directory("a") / "dir/x").unlink()
    play.settle()


def _restore_both(play: Play) -> None:
    for name, content in (("f", b"old f"), ("dir/x", b"x in dir")):
        path = play.home.directory("a") / name
        while not path.exists() or path.read_bytes() != content:
            status, complaint = play.try_command("dirsync", "restore", name)
            assert status in (0, None), complaint
            play.settle()


def _restored(root: Path) -> None:
    put(root, "f", b"old f", 1)
    put(root, "dir/x", b"x in dir", 4)


def _one_step_more() -> None:
    """Let this program know one more step of the tables than the one that made them."""
    known = schema.steps()
    sql = """
        CREATE TABLE later (a INTEGER NOT NULL) STRICT;
        INSERT INTO later VALUES (1);
        ALTER TABLE meta ADD COLUMN later TEXT;
        CREATE INDEX later_by_a ON later (a);
    """
    schema.steps = lambda: [*known, (known[-1][0] + 1, sql)]


def _check_upgraded(role: str) -> Callable[[Play], None]:
    def check(play: Play) -> None:
        with play.home.database(role) as connection:
            assert connection.execute("SELECT a FROM later").fetchall() == [(1,)]
            assert connection.execute("SELECT later FROM meta").fetchone() == (None,)

    return check


def _of_directions() -> Iterator[Scenario]:
    """Yield what a person does at one side, with either server dying."""
    for source, target in ("ab", "ba"):
        replaced = {target: [b"old f"]}
        mixed = {target: [b"old f", LARGE, b"becomes a directory", b"y in dir/deep"]}
        gone = {target: [b"old f", b"x in dir", b"y in dir/deep", b"ignored, and alone here", b"ignored too"]}
        ignored, linked = _leave_ignored(target), _hard_links(target)
        for victim in (target, source):
            where = f"{source}-to-{target}-kill-{victim}"
            yield Scenario(f"modify-{where}", victim, _edit(source, _modify), model=_modify, kept=replaced)
            yield Scenario(f"mixed-{where}", victim, _edit(source, _mix), linked, model=_mix, kept=mixed)
            yield Scenario(f"batch-{where}", victim, _edit(source, _many), model=_many)
            yield Scenario(f"delete-{where}", victim, _edit(source, _delete), ignored, model=_delete, kept=gone)


def _of_locks(victim: str) -> Iterator[Scenario]:
    held, drained = _check_held(STATES), _check_drained(STATES)
    yield Scenario(f"lock-kill-{victim}", victim, _act_lock, check=_check_held(STATES[:1]))
    yield Scenario(f"enqueue-kill-{victim}", victim, _act_enqueue, _lock, check=held)
    yield Scenario(f"drain-kill-{victim}", victim, _act_unlock, _locked_and_updated, check=drained)
    yield Scenario(f"join-kill-{victim}", victim, _act_unlock, _locked_and_joined, check=_check_joined)
    if victim == "b":
        yield Scenario("outbox-kill-b", victim, _act_outbox, _lock, check=held)


def _of_starts(victim: str) -> Iterator[Scenario]:
    yield Scenario(
        *(f"start-kill-{victim}", victim, _act_start), between=_part, model=_parted, kept=_PARTED_KEPT, is_at_start=True
    )
    yield Scenario(
        *(f"first-kill-{victim}", victim, _act_start),
        between=_forget("a", "b"),
        model=_united,
        kept={"b": [b"f of b"]},
        is_at_start=True,
        is_alone=True,
    )
    yield Scenario(
        *(f"forgotten-kill-{victim}", victim, _act_start),
        between=_forget(victim),
        model=_united,
        kept={"b": [b"f of b"]},
        is_at_start=True,
    )
    yield Scenario(
        f"emptied-kill-{victim}", victim, _act_start, between=_emptied(victim), model=_unchanged, is_at_start=True
    )
    yield Scenario(f"new-root-kill-{victim}", victim, _new_root(victim), model=_unchanged)
    yield Scenario(
        *(f"upgrade-kill-{victim}", victim, _act_start),
        model=_unchanged,
        check=_check_upgraded(victim),
        is_at_start=True,
        before=_one_step_more,
    )
    yield Scenario(f"restore-kill-{victim}", victim, _restore_both, _change_and_delete, model=_restored)


def all_scenarios() -> dict[str, Scenario]:
    """Return every scenario by name, in the order in which they are swept."""
    found = [*_of_directions()]
    for victim in "ab":
        found += [*_of_locks(victim), *_of_starts(victim)]
    return {scenario.name: scenario for scenario in found}
