"""The mutations of tests/mutations.py fit the code that they change."""

import pytest
from benchmarks.measuring.record import ROOT
from mutations import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_text_stands_once_in_the_code(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new
