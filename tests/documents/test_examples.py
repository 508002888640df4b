"""The examples in the docstrings run; `torch` is imported, as in PyTorch's examples."""

import doctest
import pkgutil
from importlib import import_module

import pytest
import torch

import involution

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(involution.__path__, "involution.")
    if ".cuda" not in name and not name.endswith(("__main__", "_kernels"))
]


SLOW = {"involution.explore.page"}  # imports gradio


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODULES])
def test_examples(name):
    assert doctest.testmod(import_module(name), extraglobs={"torch": torch}).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    assert sum(len(example.examples) for name in MODULES for example in finder.find(import_module(name))) > 10
