"""The list of mutants fits the source: each still finds the one place that it changes, and changes it to a program."""

import ast

import pytest

from tests.sim.mutant_list import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_place(mutant):
    assert mutant.changed() != mutant.file.read_text("utf-8")
    ast.parse(mutant.changed())
