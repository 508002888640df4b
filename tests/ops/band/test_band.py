"""The CUDA program for tensor cores: its values, emulated on the CPU; its machine code; which calls it serves."""

import ctypes
import random
import shutil

import pytest
import torch
from benchmarks.gpu.matrix import Case
from emulator import involution2d_spanned

from involution.ops import cuda, reference, spanned
from involution.ops.cuda import band, forward
from involution.ops.cuda.band import nvrtc, tiling
from involution.ops.cuda.band.tiling import refusal

LAST = torch.channels_last
GPU = torch.cuda.is_available()
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")


def operands(dtype=torch.bfloat16, batch=1, groups=2, depth=16, features=16, size=(5, 6), bias=True, **geometry):
    """Arguments of `involution2d_spanned`; geometry may have `window`, `stride`, `dilation` and `padding`."""
    window, stride, dilation = (
        geometry.get(name, (n, n)) for name, n in (("window", 7), ("stride", 1), ("dilation", 1))
    )
    padding = geometry.get("padding", [d * (k - 1) // 2 for k, d in zip(window, dilation, strict=True)])
    axes = zip(size, window, stride, padding, dilation, strict=True)
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
    x = torch.randn(batch, groups * depth, *size).contiguous(memory_format=LAST)
    reduced = torch.randn(batch, features, *out).contiguous(memory_format=LAST)
    taps = groups * window[0] * window[1]
    tensors = [x, reduced, torch.randn(taps, features) / features**0.5, torch.randn(taps) if bias else None]
    return *[t if t is None else t.to(dtype) for t in tensors], groups, *map(list, (window, stride, padding, dilation))


def expected(x, reduced, weight, bias, groups, window, *geometry):
    """The plain formula in float64, with kernels rounded as the program rounds them."""
    wide = [t if t is None else t.double() for t in (reduced, weight, bias)]
    kernel = spanned.span(*wide, groups, window).to(x.dtype).double()
    return reference.involution2d(x.double(), kernel, *geometry)


def check(y, arguments):
    true = expected(*arguments)
    assert y.shape == true.shape
    error = ((y.double() - true).norm() / true.norm()).item()
    assert error < (3e-3 if y.dtype == torch.bfloat16 else 4e-4), error


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("emulated")


@needs_compiler
def test_values_of_rednet(folder):
    arguments = operands(size=(9, 19))
    check(involution2d_spanned(folder, *arguments), arguments)


SIZES = [(h, w) for h in (1, 4, 7, 9, 14, 17, 23) for w in (3, 4, 7, 9, 14, 17, 23)]


def draw(number):
    """Draw arguments."""
    chance = random.Random(number)

    def pair(*values):
        return chance.choice(values), chance.choice(values)

    window, stride, dilation = pair(3, 5, 7, 1, 2, 8), pair(1, 1, 2), pair(1, 1, 2, 3)
    common = {"window": window, "stride": stride, "dilation": dilation, "size": chance.choice(SIZES)}
    extent = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    if chance.random() < 0.5:  # other padding than "same"
        least = [max((e - n + 1) // 2, 0) for e, n in zip(extent, common["size"], strict=True)]
        common["padding"] = [low + chance.randrange(3) for low in least]
    else:
        common["padding"] = [e // 2 for e in extent]
    dtype, batch = chance.choice([torch.bfloat16, torch.float16]), chance.choice([1, 2, 3])
    depth, features = chance.choice([8, 16, 32, 48]), chance.choice([8, 16, 24, 64, 136])
    return operands(dtype, batch, chance.choice([1, 2, 3]), depth, features, bias=chance.random() < 0.7, **common)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_values_of_drawn_cases(number, folder):
    arguments = draw(number)
    check(involution2d_spanned(folder, *arguments), arguments)


@needs_compiler
@pytest.mark.slow
def test_channels_of_a_program(folder, monkeypatch):
    """One program for all blocks of channels: the second buffer of shared memory, and copies while it computes."""
    monkeypatch.setattr(tiling, "PROGRAMS", 1)
    arguments = operands(torch.float16, batch=3, groups=5, features=32, size=(6, 7))
    check(involution2d_spanned(folder, *arguments), arguments)


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason="needs a GPU")
@pytest.mark.parametrize("number", range(24))
def test_values_on_a_gpu(number, monkeypatch):
    monkeypatch.setenv("INVOLUTION_TENSOR_CORES", "1")
    arguments = [a.cuda() if isinstance(a, torch.Tensor) else a for a in draw(number)]
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs compute capability 8.0")
    assert band.serves(*arguments)
    y = torch.ops.involution.involution2d_spanned(*arguments)
    check(y.cpu(), [a.cpu() if isinstance(a, torch.Tensor) else a for a in arguments])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"dtype": torch.float32}, "type"),
        ({"depth": 4}, "group"),
        ({"depth": 24}, "group"),
        ({"features": 12}, "features"),
        ({"features": 264}, "features"),
        ({"window": (3, 9)}, "window"),
        ({"stride": (1, 3)}, "stride"),
        ({"stride": (4, 4), "dilation": (2, 4)}, None),
    ],
    ids=str,
)
def test_refusals(changed, reason):
    x, reduced, weight, bias, groups, window, stride, _, dilation = operands(**changed)
    found = refusal(x, reduced, weight, bias, groups, window, stride, dilation)
    assert (found and found.split(":")[0]) == reason


def test_refuses_other_layouts():
    x, reduced, weight, bias, groups, window, stride, _, dilation = operands()
    rest = groups, window, stride, dilation
    assert refusal(x.contiguous(), reduced, weight, bias, *rest).startswith("layout")
    assert refusal(x, reduced[:, :, :, ::2], weight, bias, *rest).startswith("layout")
    assert refusal(x, reduced, weight.new_empty(weight.numel() + 1)[1:].view(weight.shape), bias, *rest).startswith(
        "al"
    )
    assert refusal(x, reduced, weight, bias.float(), *rest).startswith("type")


def test_off_unless_asked_for(monkeypatch):
    class OnGPU:
        """What `serves` asks of a tensor on an H100."""

        is_cuda, device = True, None

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(band, "refusal", lambda *args: None)
    arguments = OnGPU(), *operands()[1:]
    assert not band.serves(*arguments)
    monkeypatch.setenv("INVOLUTION_TENSOR_CORES", "1")
    assert band.serves(*arguments)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not band.serves(*arguments)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not band.serves(*arguments)


def test_the_operator_asks(monkeypatch):
    monkeypatch.setattr(band, "serves", lambda *args: True)
    monkeypatch.setattr(band, "involution2d_spanned", lambda *args: args)
    arguments = operands()
    assert cuda.implementation("involution2d_spanned") is forward.involution2d_spanned
    assert forward.involution2d_spanned(*arguments) == arguments


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case(), Case(arch="sm_80", channels=512, side=7), Case(stride=2)], ids=str)
def test_machine_code(case):
    pytest.importorskip("cuda.bindings", reason="needs NVIDIA's bindings")
    from benchmarks.gpu import tensor_cores

    row = tensor_cores.row(case)
    assert row["spilled_bytes"] == 0
    assert row["registers"] <= 255
    assert row["shared_bytes"] <= 99 * 1024
    assert row["instructions_per_multiply_add"] < 1.5


def test_errors_of_the_compiler():
    pytest.importorskip("cuda.bindings", reason="needs NVIDIA's bindings")
    with pytest.raises(RuntimeError, match=r"(?s)COMPILATION.*NARROW"):
        nvrtc.compile_for("sm_90", ())


def test_arguments_of_a_launch(monkeypatch):
    driver = pytest.importorskip("cuda.bindings.driver", reason="needs NVIDIA's bindings")
    launched = []

    def record(function, *rest):
        *numbers, parameters, _ = rest
        pointers = (ctypes.c_void_p * 6).from_address(parameters)
        addresses = [ctypes.c_void_p.from_address(p).value for p in pointers[:5]]
        launched.append((numbers, addresses, list((ctypes.c_int * 3).from_address(pointers[5]))))
        return (0,)

    monkeypatch.setattr(driver, "cuLaunchKernel", record)
    nvrtc.launch(None, (5, 6), 1024, 77, [2**40, 2, 3, 4, 5], (7, 8, 9))
    assert launched == [([5, 6, 1, 128, 1, 1, 1024, 77], [2**40, 2, 3, 4, 5], [7, 8, 9])]
