"""The examples in the docstrings say what happens."""

import doctest

import pytest

from involution import layers, ops
from involution.layers import involution, surgery

MODULES = [ops, layers, involution, surgery]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    assert sum(len(example.examples) for module in MODULES for example in finder.find(module)) > 5
