"""Which of the batches that wait for a replica comes next."""

from dirsync.coordinator.batches import Batches
from dirsync.core.plan import Action
from tests.support.trees import at, directory, file


def batch(*names):
    """Return the additions of files, and of directories where a name says so."""
    return [Action(at(name), None, directory() if name.startswith("d") else file(name)) for name in names]


async def test_what_makes_directories_goes_first_and_otherwise_what_came_first():
    batches = Batches()
    for names in (("x", "y"), ("z",), ("d1", "d1/x"), ("d2",)):
        batches.put(batch(*names))
    order = [[action.path for action in await batches.get()] for _ in range(4)]
    assert order == [[at("d1"), at("d1/x")], [at("d2")], [at("x"), at("y")], [at("z")]]


async def test_what_is_dropped_is_all_that_waited():
    batches = Batches()
    batches.put(batch("x", "y"))
    batches.put(batch("d"))
    assert {action.path for action in batches.drop()} == {at("x"), at("y"), at("d")}
    assert batches.drop() == []
