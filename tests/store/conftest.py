from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dirsync.store.database import Database


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def database(directory: Path) -> Iterator[Database]:
    with closing(Database.open(directory)) as opened:
        yield opened
