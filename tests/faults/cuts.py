"""What happens around a power cut: the work that is cut, and what must have survived once the power is back.

A scenario prepares a pair that is in sync, then works while a machine loses its power at a chosen change of its
disks. Whatever a person made durable, and whatever dirsync acknowledged, must then be found again.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.files import put
from tests.e2e.locking import held
from tests.e2e.servers import SECONDS_MAX, Tree, tree_of, wait_until
from tests.faults.machines import Machines, unique


@dataclass
class Ledger:
    """What must be found again."""

    contents: dict[str, set[bytes]] = field(default_factory=lambda: {"a": set(), "b": set()})
    """For each role, contents that its directory, its kept versions or the held updates must hold."""
    tree: Tree | None = None
    """What both directories must hold in the end; None where that depends on how far the work had come."""
    locked: dict[str, list[int]] = field(default_factory=dict)
    """For each locked name the sizes of its updates, in order."""
    finish: Callable[[Machines], None] = lambda machines: None
    """What a person does after the restart, before everything is looked at."""


@dataclass(frozen=True)
class Scenario:
    """`prepare` gets the pair in sync, and the role that will lose its power; `work` is what is cut."""

    prepare: Callable[[Machines, str], None]
    work: Callable[[Machines, str, Ledger], None]


def other(role: str) -> str:
    """Return the other role."""
    return "b" if role == "a" else "a"


def heard(machines: Machines, role: str, name: str, count: int = 1, **fields: object) -> bool:
    """Wait until a server has said something; False where its power failed before."""
    server = machines.running[role]
    try:
        server.wait_event(name, count, **fields)
    except AssertionError:
        if server.process.poll() is None:
            raise
    return len(server.events(name, **fields)) >= count


def done(machines: Machines, role: str) -> None:
    """Wait until everything is in sync again, or the power of `role` has failed."""
    tried(machines, role, "dirsync", "wait", "--timeout", str(SECONDS_MAX))


def tried(machines: Machines, role: str, *words: str) -> bool:
    """Run a command until it ends, and return whether it succeeded; False where the power of `role` failed before."""
    with machines.begin(*words) as client:
        wait_until(lambda: client.poll() is not None or not machines.is_alive(role), " ".join(words))
        client.kill()
        client.communicate()
    if client.returncode != 0:
        # Whoever loses its power answers nobody any more, and is gone when the kernel has let go of its disk.
        wait_until(lambda: not machines.is_alive(role), f"the end of {role}: {words} ended with {client.returncode}")
    return client.returncode == 0


# Applies


def no_files(machines: Machines, role: str) -> None:
    """Begin with nothing."""


def one_file(machines: Machines, role: str) -> None:
    """Begin with a file."""
    put(machines.directory(other(role)) / "file", unique("old", 3000), at=1)
    machines.settle()


def two_files(machines: Machines, role: str) -> None:
    """Begin with a file and another: a directory that holds none after a start is not believed to have been emptied."""
    put(machines.directory(other(role)) / "another", unique("another"), at=1)
    one_file(machines, role)


def many_files(machines: Machines, role: str) -> None:
    """Begin with files, links and directories of which each kind of change can be made."""
    there = machines.directory(other(role))
    for number in range(12):
        put(there / f"edited{number}", unique(("edited", number), 2000), at=number)
        put(there / f"gone/deleted{number}", unique(("deleted", number)), at=number)
    put(there / "bits", unique("bits"), at=1, mode=0o644)
    put(there / "renamed", unique("renamed", 5000), at=2)
    put(there / "becomes a directory", unique("becomes a directory"), at=3)
    put(there / "becomes a file/inside", unique("inside"), at=4)
    (there / "link").symlink_to("edited1")
    machines.settle()


def edit(machines: Machines, role: str, ledger: Ledger) -> None:
    """Replace the file."""
    _at_once(machines, role, ledger, lambda there: put(there / "file", unique("new", 6000), at=2))


def add_large(machines: Machines, role: str, ledger: Ledger) -> None:
    """Add a file that is transferred by itself."""
    _at_once(machines, role, ledger, lambda there: put(there / "deep/below/large", os.urandom(3_000_000), at=2))


def delete(machines: Machines, role: str, ledger: Ledger) -> None:
    """Delete the file."""
    _at_once(machines, role, ledger, lambda there: (there / "file").unlink())


def change_all(machines: Machines, role: str, ledger: Ledger) -> None:
    """Make every kind of change in one batch."""

    def change(there) -> None:
        for number in range(12):
            put(there / f"edited{number}", unique(("anew", number), 2500), at=100 + number)
            put(there / f"new/added{number}", unique(("added", number)), at=number)
        shutil.rmtree(there / "gone")
        (there / "bits").chmod(0o640)
        (there / "renamed").rename(there / "has another name")
        (there / "becomes a directory").unlink()
        put(there / "becomes a directory/inside", unique("inside it now"), at=5)
        shutil.rmtree(there / "becomes a file")
        put(there / "becomes a file", unique("a file now"), at=6)
        (there / "link").unlink()
        (there / "link").symlink_to("edited2")

    _at_once(machines, role, ledger, change)


def _at_once(machines: Machines, role: str, ledger: Ledger, change: Callable[..., object]) -> None:
    """Make a change at the other machine, durable there and unseen until it is whole; it is to win."""
    there = other(role)
    ledger.contents[role] |= machines.contents(role)
    with machines.stopped(there):
        change(machines.directory(there))
        machines.sync(there)
        ledger.contents[there] |= machines.contents(there)
        ledger.tree = tree_of(machines.directory(there))
    done(machines, role)


def restore(machines: Machines, role: str, ledger: Ledger) -> None:
    """Bring back what was replaced."""
    machines.rules[role].pause()
    put(machines.directory(other(role)) / "file", unique("new", 6000), at=2)
    machines.settle()
    ledger.contents[role] |= {unique("old", 3000), unique("new", 6000)}
    machines.rules[role].go_on()
    if tried(machines, role, "dirsync", "restore", "file", "--from", role):
        done(machines, role)


def start(machines: Machines, role: str, ledger: Ledger) -> None:
    """Start again where both sides had changed meanwhile."""
    machines.rules[role].pause()
    machines.stop(role)
    for side in ("a", "b"):
        put(machines.directory(side) / f"edited{'12'[side == 'b']}", unique(("new at", side)), at=200)
        put(machines.directory(side) / f"new{side}", unique(("made at", side)), at=201)
        put(machines.directory(side) / "edited3", unique(("both at", side)), at=202 if side == "a" else 203)
        (machines.directory(side) / f"edited{'67'[side == 'b']}").unlink()
        machines.sync(side)
        ledger.contents[side] |= machines.contents(side)
    machines.rules[role].go_on()
    machines.launch(role)
    if heard(machines, role, "ready"):
        done(machines, role)


# Locks; Server A loses its power


def locked_file(machines: Machines, role: str) -> None:
    """Begin with a locked file."""
    one_file(machines, role)
    machines.lab3("lock", "file")


def save_held(machines: Machines, number: int) -> int:
    """Save the next state of the locked file in directory_b, and return its size."""
    state = unique(("held", number), 200 + number)
    fresh = put(machines.b.resolve().parent / "fresh", state)
    fresh.replace(machines.b / "file")
    machines.sync("b")
    return len(state)


def locked_with_updates(machines: Machines, role: str) -> None:
    """Begin with a locked file that has updates."""
    locked_file(machines, role)
    for number in range(1, 6):
        save_held(machines, number)
        machines.server_a.wait_event("queued", number, path="file")


def enqueue(machines: Machines, role: str, ledger: Ledger) -> None:
    """Have twenty updates held; each acknowledged one, and each that B saw meanwhile, must be held."""
    sizes: list[int] = []
    before = len(machines.server_b.events("detected", path="file"))
    for number in range(1, 21):
        sizes.append(save_held(machines, number))
        if not heard(machines, "a", "queued", number, path="file"):
            machines.server_b.wait_event("detected", before + number, path="file")
    ledger.locked["file"] = sizes
    ledger.contents["b"].add(unique(("held", len(sizes)), sizes[-1]))


def lock_many(machines: Machines, role: str, ledger: Ledger) -> None:
    """Lock twelve names, one after the other; each lock that was answered must hold."""
    for number in range(12):
        if not tried(machines, role, "lab3", "lock", f"edited{number}"):
            return
        ledger.locked[f"edited{number}"] = []


def unlock(machines: Machines, role: str, ledger: Ledger) -> None:
    """Have the held updates applied; each must have been in directory_a once, whenever that ends."""
    tried(machines, role, "lab3", "unlock", "file")

    def finish(again: Machines) -> None:
        if json.loads(again.lab3("locks", "--json"))["locks"]:
            again.lab3("unlock", "file")

    ledger.finish = finish
    ledger.contents["a"] |= {unique("old", 3000)} | {unique(("held", n), 200 + n) for n in range(1, 6)}


SCENARIOS = {
    "add": Scenario(no_files, add_large),
    "edit": Scenario(one_file, edit),
    "delete": Scenario(two_files, delete),
    "batch": Scenario(many_files, change_all),
    "restore": Scenario(one_file, restore),
    "start": Scenario(many_files, start),
    "enqueue": Scenario(locked_file, enqueue),
    "lock": Scenario(many_files, lock_many),
    "unlock": Scenario(locked_with_updates, unlock),
}
OF_A_ONLY = ("enqueue", "lock", "unlock")
"""What Server A alone does."""


def check(machines: Machines, ledger: Ledger) -> None:
    """See that everything survived; both servers run again."""
    machines.command("dirsync", "wait", "--timeout", str(SECONDS_MAX))
    for name, sizes in ledger.locked.items():
        assert held(machines, name) == sizes, (name, held(machines, name))
        machines.lab3("unlock", name)
    ledger.finish(machines)
    tree = machines.settle()
    if ledger.tree is not None:
        paths = tree.keys() | ledger.tree.keys()
        differing = {path for path in paths if tree.get(path) != ledger.tree.get(path)}
        assert not differing, {path: f"{tree.get(path)!r:.200} | {ledger.tree.get(path)!r:.200}" for path in differing}
    for role in ("a", "b"):
        assert machines.is_sound(role)
        found = machines.contents(role) | set(machines.kept(role))
        lost = ledger.contents[role] - found
        assert not lost, (role, [content[:40] for content in lost])
        for area in ("staging", "captures"):
            assert not os.listdir(machines.state / role / area), (role, area, os.listdir(machines.state / role / area))
    assert not os.listdir(machines.state / "a" / "spool")
