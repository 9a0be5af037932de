"""The list of mutants fits the source: each still finds the one place that it changes, and changes it to a program."""

import ast
import subprocess
import sys

import pytest

from tests.sim.mutant_list import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_place(mutant):
    assert mutant.changed() != mutant.file.read_text("utf-8")
    ast.parse(mutant.changed())


def test_no_module_is_there_before_its_mutant():
    """What was imported with the list would run as it is, whatever is taken away from its text."""
    code = (
        "import sys, tests.sim.mutants as mutants; print(*({m.module for m in mutants.MUTANTS} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
