"""A fresh pair for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two directories with nothing running; whatever a test starts is ended."""
    made = Pair(tmp_path)
    yield made
    made.close()


@pytest.fixture
def live(pair: Pair) -> Pair:
    """Two servers, connected and in sync, on two empty directories."""
    pair.start("b", "a")
    return pair


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two servers for all tests of a module that leave them as they found them; each uses names of its own."""
    made = Pair(tmp_path_factory.mktemp("shared"))
    made.start("b", "a")
    yield made
    made.close()


@pytest.fixture
def both(shared: Pair) -> Pair:
    """The servers of the module, in sync on directories that were emptied."""
    for path in shared.a.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    assert not shared.settle()
    return shared
