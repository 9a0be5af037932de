"""Simulated pairs in the default run: a few seeds, and that a seed decides everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def simulate(*options):
    """Run `python -m tests.sim` and return its exit status and output."""
    environment = os.environ | {"PYTHONHASHSEED": "random"}
    command = [sys.executable, "-m", "tests.sim", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.timeout(150)
def test_the_same_seed_twice_gives_the_same_trace():
    runs = [simulate("--seed", "4")[1].splitlines()[:-2] for _ in range(2)]
    assert len(runs[0]) > 100
    assert runs[0] == runs[1]


@pytest.mark.timeout(150)
def test_every_promise_holds_in_a_few_seeds():
    status, said = simulate("--first", "1", "--seeds", "2", "--jobs", "2")
    assert status == 0, said
