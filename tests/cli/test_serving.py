from collections.abc import Callable
from pathlib import Path

import pytest

from dirsync.cli.main import dirsync
from dirsync.core.entry import Role
from dirsync.core.events import Event
from dirsync.errors import StateError
from dirsync.run.settings import Settings
from tests.cli.test_dirsync import configured
from tests.cli.typing_it import the_error, typed

Emit = Callable[[Event], None]


def test_a_server_gets_its_role_and_settings_and_gives_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(tmp_path)
    seen: list[tuple[Role, Settings]] = []

    def run(role: Role, settings: Settings, _: Emit) -> int:
        seen.append((role, settings))
        return 7

    monkeypatch.setattr("dirsync.cli.serving.run_server", run)
    assert typed("dirsync serve --role b").exit_code == 7
    assert [(role, settings.path) for role, settings in seen] == [(Role.B, tmp_path / "config.toml")]


def test_a_server_without_a_standard_output_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(tmp_path)
    monkeypatch.setattr("dirsync.cli.serving.run_server", lambda *_: 3)
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit) as ended:
        dirsync.main(["serve", "--role", "a"])
    assert ended.value.code == 3


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(tmp_path)

    def run(*_: object) -> int:
        raise StateError("in use by another server")

    monkeypatch.setattr("dirsync.cli.serving.run_server", run)
    result = typed("dirsync serve --role a")
    assert (result.exit_code, the_error(result)) == (1, "dirsync: in use by another server")


def test_each_role_needs_its_own_directory(tmp_path: Path) -> None:
    configured(tmp_path)
    (tmp_path / "directory_b").rmdir()
    result = typed("dirsync serve --role b")
    assert result.exit_code == 2
    assert "[b] directory: expected an existing directory" in the_error(result)


@pytest.mark.parametrize("line", ["dirsync serve", "dirsync serve --role c", "dirsync serve --role a --log-format xml"])
def test_wrong_usage(line: str) -> None:
    result = typed(line)
    assert result.exit_code == 2
    assert the_error(result).startswith("dirsync: ")
