"""An AOTInductor package of a small RedNet runs where this package is not imported: in Python and in C++."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.utils import cpp_extension

from involution.models.export import export
from involution.models.skeleton import trunk
from involution.ops import cpu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cpu.status()["loaded"], reason="the operator library is not built"),
    pytest.mark.skipif(not shutil.which("g++"), reason="AOTInductor needs a compiler"),
]
PROGRAM = Path(__file__).parents[2] / "demo/run_pt2.cpp"
SHAPE = (3, 3, 33, 40)
PYTHON = f"""
import sys, torch
torch.ops.load_library(sys.argv[1])
network = torch._inductor.aoti_load_package(sys.argv[2])
y = network(torch.linspace(0, 1, {3 * 3 * 33 * 40}).view({SHAPE}))
assert "involution" not in sys.modules
print(*y.flatten().tolist())
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package with a dynamic batch, and the outputs of the network: the stem and two blocks, one with a stride."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(trunk.DEPTHS, 26, (1, 1, 1, 1))
        widths = {"mid_widths": (16, 32, 16, 16), "group_channels": 8}
        net = timm.create_model("rednet26", zero_init_last=False, **widths)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3))
    network = nn.Sequential(net.stem, net.maxpool, net.layer1, net.layer2, head).eval()
    path = tmp_path_factory.mktemp("package") / "net.pt2"
    with torch._inductor.config.patch("aot_inductor.compile_wrapper_opt_level", "O0"):
        assert export(network, "pt2", path, SHAPE[2:], ["batch"]) < 1e-5
    with torch.no_grad():
        return path, network(torch.linspace(0, 1, 3 * 3 * 33 * 40).view(SHAPE)).flatten()


def outputs(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.tensor([float(word) for word in done.stdout.split()])


def test_in_python_with_torch_and_the_library(package):
    path, expected = package
    got = outputs(sys.executable, "-W", "ignore", "-c", PYTHON, cpu.LIBRARY, path)
    torch.testing.assert_close(got, expected)


def test_in_a_program_without_python(package, tmp_path):
    path, expected = package
    folders = cpp_extension.library_paths()
    subprocess.run(
        [
            *("g++", "-std=c++20", PROGRAM, "-o", tmp_path / "run_pt2"),
            *(part for folder in cpp_extension.include_paths() for part in ("-I", folder)),
            *(f"-L{folder}" for folder in folders),
            *(f"-Wl,-rpath,{folder}" for folder in folders),
            *("-ltorch", "-ltorch_cpu", "-lc10", "-ldl"),
        ],
        check=True,
    )
    got = outputs(tmp_path / "run_pt2", cpu.LIBRARY, path, *(SHAPE[i] for i in (0, 2, 3)))
    torch.testing.assert_close(got, expected)
