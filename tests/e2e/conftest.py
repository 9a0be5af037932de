"""A fresh pair for each test."""

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
