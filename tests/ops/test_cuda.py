"""What serves CUDA tensors: right (cuda_values.py), compiled once for all shapes, and no condition for the rest."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch

from involution.ops import cuda


def test_serve_the_cuda_key():
    for name in cuda.FILES:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"involution::{name}", "CUDA"), name


def python(*args, **environment):
    clean = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = partial(subprocess.run, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    done = run([sys.executable, *args], env={**clean, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_values():
    here = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    tests = str(Path(__file__).with_name("cuda_values.py"))
    print(python("-m", "pytest", "-q", "--durations=5", "-p", "no:cacheprovider", tests, **here))


def test_without_triton_nothing_changes():
    program = """
import sys
sys.modules["triton"] = None
import torch, involution
assert not torch._C._dispatch_has_kernel_for_dispatch_key("involution::involution2d", "CUDA")
print(involution.involution2d(torch.ones(1, 2, 3, 3), torch.ones(1, 1, 3, 3, 3, 3))[0, 0, 1].tolist())
"""
    assert python("-c", program) == "[6.0, 9.0, 6.0]\n"


def test_compiled_once_for_all_shapes(tmp_path):
    """For an H100, which need not be there: what the interpreter does not notice, the compiler does."""

    def compiled(*shape):
        lines = python("-m", "benchmarks.gpu.code", "--launch", *shape, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
        return [json.loads(line) for line in lines]

    one, other = compiled("256", "56", "56"), compiled("3", "13", "17")
    assert {launch["file"] for launch in one} == {*cuda.FILES.values(), "spanned_grad_x", "spanned_grad_span"} - {
        "spanned_backward"
    }
    assert [launch["hash"] for launch in one] == [launch["hash"] for launch in other]
    for launch in one:
        assert launch["shared"] <= 64 * 1024, launch  # three or more programs share a multiprocessor's 227 KiB
