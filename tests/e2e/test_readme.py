"""The tour in the README, typed as printed: every command does what the README shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.servers import SECONDS_MAX, Pair

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
EXAMPLES = ("directory_a", "directory_b")


def tour() -> list[tuple[str, str]]:
    """Return the commands of the tour after `make run`, each with what it prints."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = re.search(r"^## Two minutes$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    steps: list[tuple[str, str]] = []
    for block in re.findall(r"```\n(.*?)```", section[1], re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = step.partition("\n")
            steps.append((command, printed))
    return [step for step in steps if step[0] != "make run"]


def undated(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN", text)


def take_examples(pair: Pair) -> None:
    """Put the example directories there as they are committed: those of the checkout may have been played with."""
    archive = subprocess.run(["git", "archive", "HEAD", *EXAMPLES], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip("not a git checkout, so the example directories may have been played with")
    subprocess.run(["tar", "-x"], cwd=pair.home, input=archive.stdout, check=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_tour(pair: Pair) -> None:
    take_examples(pair)
    shutil.copy(ROOT / "lab3", pair.home)
    (pair.home / ".venv").mkdir()
    (pair.home / ".venv" / "bin").symlink_to(BIN)
    pair.start("b", "a")
    steps = tour()
    assert len(steps) > 12
    for command, printed in steps:
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=pair.home,
            capture_output=True,
            text=True,
            env=pair.environment,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, ""), command
        assert undated(result.stdout) == undated(printed), command
        pair.command("dirsync", "wait", "--timeout", "20")
