"""The sweep itself: it kills where it says, and it sees what is lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import checks
from tests.torture.home import Home, put

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("gcc") is None, reason="the shim needs Linux and gcc"
)
TOP = Path(__file__).parents[2]


def _swept(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-m", "tests.torture", "--jobs", "1", *words]
    return subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)


def test_a_server_is_killed_at_a_point_and_nothing_is_lost() -> None:
    done = _swept("--only", "modify-a-to-b-kill-b:8+")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "1 points told, 1 kills, 0 failed" in done.stdout


def test_a_scenario_that_does_not_exist_is_named() -> None:
    done = _swept("--only", "nothing")
    assert done.returncode == 1
    assert "there are modify-a-to-b-kill-b" in done.stderr


def test_what_differs_is_seen(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    for role in "ab":
        put(home.directory(role), "f", b"same", 1)
    checks.check_trees(home, home.tree("a"))
    put(home.directory("b"), "f", b"same", 2)
    with pytest.raises(AssertionError, match="differ"):
        checks.check_trees(home, None)
    put(home.directory("a"), "f", b"same", 2)
    with pytest.raises(AssertionError, match="not what was made"):
        checks.check_trees(home, {})
    outside = home.outside_tree()
    put(home.outside, "secret", b"touched")
    with pytest.raises(AssertionError, match="outside"):
        checks.check_outside(home, outside)
