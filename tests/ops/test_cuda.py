"""Operators on CUDA tensors: dispatch, fallbacks if Triton is unavailable, and compilation targets."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from triton import OutOfResources
from triton.runtime import driver

from involution.ops import cuda, reference
from involution.ops.cuda import launch, precision

ROOT = Path(__file__).parents[2]


def python(*args, **environment):
    clean = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = partial(subprocess.run, capture_output=True, text=True, cwd=ROOT)
    done = run([sys.executable, *args], env={**clean, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def status():
    """The status, asked anew before and after the test."""
    cuda.status.cache_clear()
    yield cuda.status
    cuda.status.cache_clear()


@pytest.fixture
def call():
    """Arguments of `involution2d`, as the schema has them."""
    return torch.randn(1, 4, 5, 6), torch.randn(1, 2, 3, 3, 5, 6), [1, 1], [1, 1], [1, 1]


def test_serve_the_cuda_key():
    for name in cuda.FILES:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"involution::{name}", "CUDA"), name


@pytest.mark.slow
def test_without_triton_nothing_changes():
    program = """
import sys
sys.modules["triton"] = None
import torch, involution
assert not torch._C._dispatch_has_kernel_for_dispatch_key("involution::involution2d", "CUDA")
print(involution.involution2d(torch.ones(1, 2, 3, 3), torch.ones(1, 1, 3, 3, 3, 3))[0, 0, 1].tolist())
print(involution.ops.cuda.status()["reason"])
"""
    assert python("-c", program).splitlines() == [
        "[6.0, 9.0, 6.0]",
        "Triton is missing: `pip install triton`, which needs Linux",
    ]


class NoCompiler:
    """A driver of Triton whose launcher cannot be built."""

    @property
    def utils(self):
        raise RuntimeError("Failed to find C compiler.")


def test_without_a_c_compiler_the_reference_serves(monkeypatch, status, call):
    monkeypatch.setattr(driver, "_active", NoCompiler())
    assert status() == {"loaded": False, "reason": "Triton cannot launch programs: Failed to find C compiler."}
    monkeypatch.setattr(cuda, "implementation", lambda name: pytest.fail("Triton was asked"))
    assert torch.equal(cuda.serve("involution2d", *call), reference.involution2d(*call))


def test_with_a_c_compiler_triton_serves(monkeypatch, status, call):
    monkeypatch.setattr(driver, "_active", SimpleNamespace(utils=None))
    monkeypatch.setattr(cuda, "implementation", lambda name: lambda *args: (name, *args))
    assert status() == {"loaded": True, "reason": None}
    assert cuda.serve("involution2d", *call) == ("involution2d", *call)


def test_what_does_not_fit_is_served_by_the_reference(monkeypatch, status, call):
    def too_large(*args):
        raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(driver, "_active", SimpleNamespace(utils=None))
    monkeypatch.setattr(cuda, "implementation", lambda name: too_large)
    assert torch.equal(cuda.serve("involution2d", *call), reference.involution2d(*call))


def test_scale_and_interleaved_groups_are_served_by_the_reference(monkeypatch, status, call):
    monkeypatch.setattr(driver, "_active", SimpleNamespace(utils=None))
    monkeypatch.setattr(cuda, "implementation", lambda name: pytest.fail("Triton was asked"))
    x, kernel, *geometry = call
    split = kernel.unsqueeze(5).unsqueeze(7)
    for arguments in ((x.unflatten(1, (2, 2)), kernel), (x, split)):
        got = cuda.serve("involution2d", *arguments, *geometry)
        assert torch.equal(got, reference.involution2d(*arguments, *geometry))


def test_windows_too_wide_for_registers_are_refused():
    with pytest.raises(OutOfResources, match="taps"):
        launch.tile(4, 16, 4 * launch.power(17), 2, True)


@pytest.mark.parametrize(("allowed", "used"), [("ieee", "tf32x3"), ("tf32", "tf32")])
def test_products_are_as_exact_as_convolutions(allowed, used):
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, allowed
    try:
        assert precision.product_mode() == used
    finally:
        convolutions.fp32_precision = before


def test_amd_gets_neither_assembly_nor_tf32(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert precision.product_mode() == "ieee"
    assert not precision.ptx()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compile with benchmarks/gpu/code.py, in a process of its own: programs are not interpreted there."""
    folder = tmp_path_factory.mktemp("triton")

    def run(*arguments):
        lines = python("-m", "benchmarks.gpu.code", *arguments, TRITON_CACHE_DIR=str(folder)).splitlines()
        return [json.loads(line) for line in lines]

    return run


@pytest.mark.slow
def test_compiled_once_for_all_shapes(compiled):
    """For an H100, which need not be there: what the interpreter does not notice, the compiler does."""
    one = compiled("--launch", "256", "56", "56")
    other = compiled("--launch", "3", "13", "17")
    assert len(one) == 6
    assert [launch["hash"] for launch in one] == [launch["hash"] for launch in other]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        {"arch": "sm_90", "layout": "nhwc", "group_channels": 16, "dtype": "bfloat16", "window": 7, "stride": 1},
        {"arch": "sm_80", "layout": "nchw", "group_channels": 1, "dtype": "float32", "window": 13, "stride": 1},
        {"arch": "gfx942", "layout": "nchw", "group_channels": 16, "dtype": "bfloat16", "window": 3, "stride": 1},
    ],
    ids=str,
)
def test_resources(case, compiled):
    """A selection of what the records results/measured/gpu/gpu-code*.json hold."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in case.items()]
    rows = compiled(*options)
    assert len(rows) == 6
    for row in rows:
        check_resources(row)


SHARED_KIB = {"sm_80": 163, "sm_86": 99, "sm_90": 227, "gfx942": 64}
"""Shared memory that a program may take."""


def check_resources(row):
    assert row["shared_bytes"] <= 1024 * SHARED_KIB[row["arch"]], row
    assert row["spilled_bytes"] <= 256, row
    assert row["registers"] <= (512 if row["arch"].startswith("gfx") else 255), row


def test_recorded_resources():
    records = (ROOT / "results/measured/gpu").glob("gpu-code*.json")
    rows = [row for record in records for row in json.loads(record.read_text())["rows"]]
    assert {row["arch"] for row in rows} == set(SHARED_KIB)
    for row in rows:
        check_resources(row)
