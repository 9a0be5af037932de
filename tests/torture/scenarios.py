"""What happens while a server dies: each scenario prepares a home, and is then told with the victim under watch.

`prepare` runs with both servers up and in sync on the seed; `act` is the person's work, from which the points are
counted. What must stand at both sides at the end is said by a model: the same work done on a plain directory.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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

    `is_at_start`: the points are those of the victim's start. `mirror` is the role whose directory shows at the end
    what both must hold, after `model` was done to a copy of the prepared one (None: the scenario checks by itself).
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


def _update(play: Play, number: int) -> None:
    """Bring B's file into its next state, and wait until that is held at A or the victim is dead."""
    state = STATES[number]
    if state is None:
        (play.home.directory("b") / "f").unlink()
    else:
        play.put("b", "f", state, 300 + number)
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

    return check


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
    "a": [b"old g, longer", b"g of a"][1:],
    "b": [b"f of b", b"new at both, b", b"z in other"],
}


def _act_start(play: Play) -> None:
    play.settle()


def _lose_state(role: str) -> Callable[[Play], None]:
    def between(play: Play) -> None:
        shutil.rmtree(play.home.state / role)

    return between


def _new_root(role: str) -> Callable[[Play], None]:
    """The directory is moved away under the running server, and an empty one takes its place."""

    def act(play: Play) -> None:
        directory = play.home.directory(role)
        directory.rename(play.home.path / "moved away")
        directory.mkdir()
        play.settle()

    return act


def _restore(play: Play) -> None:
    play.ask("dirsync", "restore", "f")
    play.ask("dirsync", "restore", "dir/x")
    play.settle()


def _change_and_delete(play: Play) -> None:
    play.put("a", "f", b"a mistake", 500)
    (play.home.directory("a") / "dir/x").unlink()
    play.settle()


def all_scenarios() -> dict[str, Scenario]:
    """Return every scenario by name, in the order in which they are swept."""
    found: list[Scenario] = []
    other = {"a": "b", "b": "a"}
    for source in "ab":
        target = other[source]
        for victim in "ba" if source == "a" else "ab":
            where = f"{source}-to-{target}-kill-{victim}"
            replaced = {target: [b"old f"]}
            mixed = {target: [b"old f", LARGE, b"becomes a directory", b"y in dir/deep"]}
            gone = {target: [b"old f", b"x in dir", b"y in dir/deep", b"ignored, and alone here", b"ignored too"]}
            found += [
                Scenario(f"modify-{where}", victim, _edit(source, _modify), model=_modify, kept=replaced),
                Scenario(f"mixed-{where}", victim, _edit(source, _mix), _hard_links(target), model=_mix, kept=mixed),
                Scenario(f"batch-{where}", victim, _edit(source, _many), model=_many),
                Scenario(
                    f"delete-{where}", victim, _edit(source, _delete), _leave_ignored(target), model=_delete, kept=gone
                ),
            ]
    for victim in "ab":
        found += [
            Scenario(f"lock-kill-{victim}", victim, _act_lock, check=_check_held(STATES[:1])),
            Scenario(f"enqueue-kill-{victim}", victim, _act_enqueue, _lock, check=_check_held(STATES)),
            Scenario(f"drain-kill-{victim}", victim, _act_unlock, _locked_and_updated, check=_check_drained(STATES)),
            Scenario(
                f"start-kill-{victim}",
                victim,
                _act_start,
                between=_part,
                model=_parted,
                kept=_PARTED_KEPT,
                is_at_start=True,
            ),
        ]
    return {scenario.name: scenario for scenario in found}
