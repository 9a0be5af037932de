"""Machines whose disks can fail, for each test; all of it behind the marker `faults`, but for what says otherwise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import shim
from tests.faults.machines import Machines


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preload library."""
    return shim.built(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Two machines with nothing running and no disks of their own yet."""
    made = Machines(tmp_path)
    yield made
    made.close()
