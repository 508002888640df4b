"""Exported networks in other runtimes give the outputs of PyTorch, also at sizes that the export did not use."""

from itertools import product

import pytest
import torch
from test_mistakes import complains

from involution.models.export import Flat, export
from involution.models.recognition import create
from involution.models.skeleton import trunk

SIZES = list(product((1, 5), ((224, 224), (225, 199))))
NETWORKS = ("rednet26", "faster_rcnn/rednet26/involution", "semantic_fpn/rednet26/involution")
SMALL = {"mid_widths": (16, 32, 32, 32), "channels": 32}  # the networks for dense prediction, of one block a stage


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_of_every_size(tmp_path, name, monkeypatch):
    """One file for every batch and size. `python -m benchmarks run onnx` compares networks of full size."""
    runtime = pytest.importorskip("onnxruntime")
    if "/" in name:
        monkeypatch.setitem(trunk.DEPTHS, 26, (1, 1, 1, 1))
    network = create(name, SMALL if "/" in name else {}).eval()
    for module in network.modules():  # random networks give logits near zero
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
    assert export(network, "onnx", tmp_path / "net.onnx", (32, 32), ["batch", "size"]) < 1e-4
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for batch, size in SIZES:
        images = torch.rand(batch, 3, *size)
        with torch.no_grad():
            expected = Flat(network)(images)
        got = session.run(None, {"images": images.numpy()})
        for y, z in zip([expected] if isinstance(expected, torch.Tensor) else expected, got, strict=True):
            assert (torch.from_numpy(z) - y).abs().max() <= 1e-4 * y.abs().max()


def test_torchscript(run):
    outcome = run("export", "rednet26", "--format", "torchscript", "--out", "net.pt", "--input-size", 32, 32)
    assert outcome.status == 0
    assert outcome.out.startswith("net.pt  ")
    assert 'torch.jit.load("net.pt")(images)' in outcome.out
    assert outcome.err == "rednet26 without a checkpoint: its weights are random\n"
    with pytest.warns((FutureWarning, DeprecationWarning)):  # the second until torch 2.11
        script = torch.jit.load("net.pt")
    assert script(torch.rand(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rednet26", "--format", "onnx", "--out", "net.pt"), "--out: expected a file ending in .onnx, got net.pt"),
        (("rednet26", "--format", "tflite", "--out", "a.pt"), "argument --format: invalid choice: 'tflite'"),
        (("rednet51", "--format", "pt2", "--out", "a.pt2"), "model: expected a network of rednet26, .*'rednet51'"),
        (("gone.ckpt", "--format", "pt2", "--out", "a.pt2"), "checkpoint: expected a file, got gone.ckpt.*"),
        (
            ("rednet26", "--format", "onnx", "--out", "a.onnx", "--dtype", "bfloat16"),
            "dtype: expected float16, float32 or float64, .*, got bfloat16",
        ),
        (
            ("rednet26", "--format", "pt2", "--out", "a.pt2", "--dynamic", "depth"),
            "dynamic: expected any of batch, size, got 'depth'",
        ),
        (
            ("rednet26", "--format", "pt2", "--out", "a.pt2", "--input-size", "0", "8"),
            "--input-size: expected one or two positive numbers, got 0 8",
        ),
    ],
    ids=str,
)
def test_mistakes(run, arguments, message):
    assert complains(run("export", *arguments), message)
