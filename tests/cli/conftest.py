import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest


@pytest.fixture(autouse=True)
def user_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(platformdirs, "user_config_path", lambda name: tmp_path / "user" / name)
    monkeypatch.delenv("DIRSYNC_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def own_excepthook() -> Iterator[None]:
    before = sys.excepthook
    yield
    sys.excepthook = before
