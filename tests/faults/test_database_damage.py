"""A state that is damaged, lost, older than it was, or of another pair: nothing is deleted, and one line says why."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.faults.machines import Machines, unique

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def flip(database: Path) -> None:
    """Change bytes all over the file."""
    content = bytearray(database.read_bytes())
    chance = random.Random(1)
    for _ in range(len(content) // 50):
        content[chance.randrange(100, len(content))] ^= 0xFF
    database.write_bytes(content)


def truncate(database: Path) -> None:
    """Cut the file off."""
    with database.open("r+b") as stream:
        stream.truncate(database.stat().st_size // 2 // 4096 * 4096 + 100)


def no_database(database: Path) -> None:
    """Put something else there."""
    database.write_bytes(b"this was a database once\n" * 1000)


def garbage_log(database: Path) -> None:
    """Leave a log of garbage."""
    database.with_name("state.db-wal").write_bytes(random.Random(2).randbytes(300_000))


def lost(database: Path) -> None:
    """Lose the whole state directory."""
    shutil.rmtree(database.parent)


def empty(database: Path) -> None:
    """Lose every byte of the database."""
    database.write_bytes(b"")


REFUSED = [flip, truncate, no_database]
FIRST_RUN = [lost, empty]


@pytest.fixture(params=["a", "b"])
def role(request: pytest.FixtureRequest) -> str:
    """Whose state is damaged."""
    return str(request.param)


@pytest.fixture
def stopped(machines: Machines, role: str) -> Machines:
    """A pair that was in sync; the server is stopped, and both sides have changed since."""
    machines.start("b", "a")
    for number in range(200):
        put(machines.a / f"{number % 9}/file{number}", unique(number), at=number)
    machines.settle()
    machines.stop(role)
    put(machines.a / "1/file1", unique("new at a"))
    put(machines.b / "2/file2", unique("new at b"))
    (machines.a / "3/file3").unlink()
    (machines.b / "4/file4").unlink()
    return machines


def check(machines: Machines, *, is_first_run: bool) -> None:
    """See that nothing but what was deleted is gone."""
    tree = machines.settle()
    assert tree[b"1/file1"][1] == unique("new at a")
    assert tree[b"2/file2"][1] == unique("new at b")
    assert len([found for found in tree.values() if found[0] == "file"]) == (200 if is_first_run else 198)


@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_database_is_refused(stopped: Machines, role: str, damage: Callable[[Path], None]) -> None:
    database = stopped.state / role / "state.db"
    damage(database)
    stopped.launch(role)
    server = stopped.running.pop(role)
    assert server.wait_end() == 1
    (line,) = server.complaints
    assert "is damaged" in line
    assert "move it aside" in line
    assert len(list(stopped.directory(role).rglob("file*"))) == 199
    for name in ("state.db", "state.db-wal"):
        database.with_name(name).unlink(missing_ok=True)
    stopped.start(role)
    check(stopped, is_first_run=True)


@pytest.mark.parametrize("damage", FIRST_RUN)
def test_a_lost_state_is_a_first_run(stopped: Machines, role: str, damage: Callable[[Path], None]) -> None:
    damage(stopped.state / role / "state.db")
    stopped.start(role)
    check(stopped, is_first_run=True)


def test_a_log_of_garbage_is_no_log(stopped: Machines, role: str) -> None:
    garbage_log(stopped.state / role / "state.db")
    stopped.start(role)
    check(stopped, is_first_run=False)


def test_a_state_that_is_older_than_the_directory_deletes_nothing(machines: Machines, role: str) -> None:
    """A person brings back yesterday's copy of the state; what was made since must stay."""
    machines.start("b", "a")
    put(machines.a / "yesterday", unique("yesterday"))
    put(machines.a / "edited", unique("first"))
    machines.settle()
    machines.stop(role)
    shutil.copytree(machines.state / role, machines.home / "copy")
    machines.start(role)
    put(machines.a / "today", unique("today"))
    put(machines.b / "edited", unique("second", 200))
    machines.settle()
    machines.stop(role)
    shutil.rmtree(machines.state / role)
    (machines.home / "copy").rename(machines.state / role)
    machines.start(role)
    tree = machines.settle()
    assert set(tree) == {b"yesterday", b"today", b"edited"}
    assert tree[b"edited"][1] == unique("second", 200)
