import json
import sys

import pytest
import torch

from involution.cli import info
from involution.ops import cpu, cuda


def test_json(run):
    outcome = run("info", "--json")
    assert outcome.status == 0
    assert outcome.err == ""
    facts = json.loads(outcome.out)
    assert facts["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    device = facts["devices"][0]
    assert device["device"] == "cpu"
    assert set(device["implementation"]) == {"float64", "float32", "bfloat16", "float16"}
    compiled = cpu.status()["loaded"]
    assert all(("C++" in used) == compiled for used in device["implementation"].values())
    assert (device["hint"] is None) == compiled
    assert device["library"] == (str(cpu.LIBRARY) if compiled else None)
    assert not compiled or f"library     {cpu.LIBRARY}" in run("info").out


def test_it_says_how_to_get_the_fast_one(run, monkeypatch):
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: False)
    reason = "the C++ extension was not built: install a C++ compiler and reinstall involution"
    monkeypatch.setattr(cpu, "status", lambda: {"loaded": False, "instruction_set": None, "reason": reason})
    monkeypatch.setattr(
        cuda, "status", lambda: {"loaded": False, "reason": "Triton cannot launch programs: no compiler"}
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "some GPU")
    text = run("info").out
    assert text.count("reference") == 8
    assert reason in text
    assert "cuda:0        some GPU" in text
    assert "Triton cannot launch programs: no compiler" in text


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (info.CONTRACTIONS + info.SPANNED, "Triton"),
        (info.CONTRACTIONS, "Triton, kernels stored"),
        (info.SPANNED, info.REFERENCE),
        ((), info.REFERENCE),
    ],
)
def test_the_dispatcher_is_asked(monkeypatch, served, expected):
    has = lambda name, key: key == "CUDA" and name.removeprefix("involution::") in served  # noqa: E731
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", has)
    assert info._implementations("CUDA", "Triton") == dict.fromkeys(info.DTYPES, expected)
