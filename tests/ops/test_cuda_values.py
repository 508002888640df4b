"""The Triton programs against the reference in float64: in Triton's interpreter, or on the GPU where there is one."""

import pytest
import torch
from geometries import Geometry, empty_batch
from test_operators import plain, results

from involution.ops import cuda

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
G = Geometry
pytestmark = [] if GPU else pytest.mark.interpreter

# As in test_operators; but the interpreter cuts bfloat16 off where a GPU rounds, kernels' gradients twice.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}

GEOMETRIES = {
    "3x7, nhwc": (G(batch=1, height=4, width=9, window=(3, 7)), True),
    "odd, stride 2, nchw": (G(batch=1, groups=1, height=7, width=9, stride=(2, 2)), False),
    "even, stride 2, nhwc": (G(batch=1, groups=1, height=4, width=10, window=(2, 5), stride=(2, 2)), True),
    "dilation and stride, nchw": (
        G(batch=1, groups=1, height=7, width=8, window=(2, 4), stride=(2, 3), dilation=(3, 2)),
        False,
    ),
    "stride beyond window, nhwc": (G(batch=1, height=7, width=8, window=(2, 2), stride=(3, 4)), True),
    "several tiles, nchw": (G(batch=3, groups=1, group_channels=4, height=9, width=14, window=(1, 3)), False),
    "column, nhwc": (G(height=6, width=3, window=(5, 1)), True),
    "window larger than image, nchw": (G(batch=1, height=2, width=3, window=(3, 9)), False),
    "a group wider than a tile, nchw": (
        G(batch=1, groups=1, group_channels=24, height=2, width=5, window=(1, 2)),
        False,
    ),
    "a group wider than a tile, nhwc": (
        G(batch=1, groups=1, group_channels=72, height=2, width=5, window=(1, 2)),
        True,
    ),
    "more groups than a tile has, nhwc": (G(batch=1, groups=6, height=2, width=5, window=(2, 3)), True),
    "1 channel a group, nhwc": (G(batch=1, groups=6, group_channels=1, height=3, width=6), True),
    "1 channel a group, nchw": (G(batch=1, groups=40, group_channels=1, height=2, width=3, window=(1, 7)), False),
    "20 channels a group, nhwc": (G(batch=1, groups=3, group_channels=20, height=2, width=5, window=(2, 2)), True),
}
"""What a program may go wrong on: geometry, and whether channels lie densest."""


@pytest.fixture(autouse=True)
def nan_outputs(monkeypatch):
    """Fill the memory of results with NaN, so that unwritten values are detected."""
    allocate = torch.Tensor.new_empty

    def poisoned(self, *args, **kwargs):
        return allocate(self, *args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    if not GPU:
        from interpreter import be_strict

        be_strict(monkeypatch)


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision = before


def check(t, geometry):
    """Compare all operators on the tensors `t` with the reference; return their outputs."""
    dtype = t["x"].dtype
    meta = {name: value.to("meta") for name, value in t.items()}
    layouts = results(lambda name: getattr(torch.ops.involution, name), meta, geometry)
    got = results(cuda.implementation, {name: value.to(DEVICE) for name, value in t.items()}, geometry)
    for name, expected in results(plain, {name: value.double() for name, value in t.items()}, geometry).items():
        value = got[name]
        assert value.dtype == dtype, name
        assert value.shape == expected.shape, name
        assert value.stride() == layouts[name].stride(), name
        if expected.numel():
            error = (value.cpu().double() - expected).abs().max() / expected.abs().max().clamp(min=1)
            assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"
    return got


@pytest.mark.parametrize(("geometry", "channels_last"), GEOMETRIES.values(), ids=GEOMETRIES)
def test_values(geometry, channels_last):
    check(geometry.tensors(torch.float32, channels_last), geometry)


@pytest.mark.parametrize(
    ("dtype", "channels_last"),
    [(torch.float64, True), (torch.bfloat16, True), (torch.bfloat16, False), (torch.float16, True)],
    ids=str,
)
def test_dtypes(dtype, channels_last):
    geometry = G(batch=1, height=4, width=5, window=(3, 5))
    check(geometry.tensors(dtype, channels_last), geometry)


@pytest.mark.parametrize("features", [1, 150])
def test_any_number_of_features(features):
    geometry = G(batch=1, height=3, width=5)
    check(geometry.tensors(torch.float32, True, reduced=features), geometry)


def test_without_bias():
    geometry = G(batch=1, height=3, width=5)
    t = geometry.tensors(torch.float32, True)
    span = t["reduced"], t["weight"], None, geometry.groups, geometry.window, *geometry.arguments
    moved = [v.to(DEVICE) if isinstance(v, torch.Tensor) else v for v in span]
    y = cuda.involution2d_spanned(t["x"].to(DEVICE), *moved)
    torch.testing.assert_close(y.cpu(), plain("involution2d_spanned")(t["x"], *span), rtol=1e-4, atol=1e-4)
    grads = cuda.involution2d_spanned_backward(t["grad"].to(DEVICE), t["x"].to(DEVICE), *moved)
    assert grads[3].shape == (0,)


@pytest.mark.parametrize(
    "mask",
    [(True, False, False, False), (False, True, False, False), (False, False, True, True), (False, False, False, True)],
    ids=str,
)
def test_output_mask(mask):
    geometry = G(batch=1, groups=6, height=2, width=5, window=(1, 2))  # more groups than a program has
    t = geometry.tensors(torch.float32, True)
    span = t["reduced"], t["weight"], t["bias"], geometry.groups, geometry.window, *geometry.arguments
    expected = plain("involution2d_spanned_backward")(t["grad"], t["x"], *span, mask)
    moved = [v.to(DEVICE) if isinstance(v, torch.Tensor) else v for v in span]
    backward = cuda.involution2d_spanned_backward
    grads = backward(t["grad"].to(DEVICE), t["x"].to(DEVICE), *moved, mask)
    for grad, value in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad.cpu(), value, rtol=1e-4, atol=1e-4)


def test_any_strides():
    geometry = G(height=5, width=6)
    t = geometry.tensors(torch.float32)

    def every_second(value):
        return value.repeat_interleave(2, -1)[..., ::2]

    def turned(value):
        return value.transpose(-1, -2).contiguous().transpose(-1, -2)

    t = {name: (turned if name in ("x", "kernel") else every_second)(value) for name, value in t.items()}
    t["grad"] = t["grad"][:1, :, :1, :1].expand_as(t["grad"])
    check(t, geometry)


def test_mixed_layouts():
    geometry = G(batch=1, height=4, width=5)
    first, last = geometry.tensors(torch.float32), geometry.tensors(torch.float32, True)
    check({**first, "x": last["x"], "reduced": last["reduced"]}, geometry)
    check({**last, "x": first["x"], "reduced": first["reduced"]}, geometry)


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_empty_batch(channels_last):
    got = check(empty_batch().tensors(torch.float32, channels_last), empty_batch())
    assert not any(got[f"spanned grad {i}"].any() for i in (2, 3))


def test_gradients_are_the_same_in_every_run():
    geometry = G(batch=4, height=24, width=24, window=(7, 7)) if GPU else G(batch=1, height=5, width=6)
    t = {name: value.to(DEVICE) for name, value in geometry.tensors(torch.float32, True).items()}
    first, second = results(cuda.implementation, t, geometry), results(cuda.implementation, t, geometry)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("programs", [1, 3])
def test_gradient_of_the_weight_in_parts(programs, monkeypatch):
    from involution.ops.cuda import grad_span

    monkeypatch.setattr(grad_span, "WORKSPACE", 0)
    monkeypatch.setattr(grad_span, "PROGRAMS", programs)
    geometry = G(batch=2, groups=6, group_channels=16, height=4, width=9, window=(1, 2))
    check(geometry.tensors(torch.float32, True), geometry)


FAR = 2**30 + 5
"""A stride whose multiples need more than 32 bits."""


def moved(value, axis, step=FAR):
    """The tensor with `step` elements between neighbours along an axis; memory between them is never touched."""
    others = [n if i != axis else 1 for i, n in enumerate(value.shape)]
    strides = list(torch.empty(others, device="meta").stride())
    strides[axis] = step
    size = step * (value.shape[axis] - 1) + value.numel()
    return torch.empty(size, dtype=value.dtype).as_strided(value.shape, strides).copy_(value)


@pytest.mark.skipif(GPU, reason="GPUs have no memory for it")
@pytest.mark.parametrize(
    ("name", "axis"),
    [("x", 1), ("x", 0), ("grad", 1), ("grad", 3), ("reduced", 1), ("weight", 1), ("kernel", 3), ("kernel", 5)],
)
def test_distances_beyond_32_bits(name, axis):
    geometry = G(batch=2, groups=1, group_channels=3, height=1, width=3, window=(1, 3))
    t = geometry.tensors(torch.float16)
    check({**t, name: moved(t[name], axis)}, geometry)


def test_corners_beyond_32_bits():
    """Windows that begin far outside the image: only their middle row lies in it, as with a dilation of 3."""
    geometry = G(batch=1, groups=1, group_channels=2, height=3, width=4, window=(3, 1), dilation=(3, 1))
    t = geometry.tensors(torch.float32)
    padding, dilation = [2**21, 0], [2**21, 1]
    x = moved(t["x"], 2, 2**11)
    y = cuda.involution2d(x.to(DEVICE), t["kernel"].to(DEVICE), [1, 1], padding, dilation)
    expected = plain("involution2d")(t["x"], t["kernel"], *geometry.arguments)
    torch.testing.assert_close(y.cpu(), expected)


needs_gpu = pytest.mark.skipif(not GPU, reason="needs a GPU")


@needs_gpu
@pytest.mark.cuda
def test_dispatch_compile_and_graph_agree():
    from involution import Involution2d

    layer = Involution2d(64, stride=2).cuda().eval()
    x = torch.randn(2, 64, 15, 17, device="cuda").contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), expected, rtol=1e-3, atol=1e-3)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = layer(x)
        y.zero_()
        graph.replay()
        torch.testing.assert_close(y, expected)
        with torch.autocast("cuda", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("tensor_cores", ["0", "1"])
def test_streams_and_graphs_get_the_same_values(tensor_cores, monkeypatch):
    monkeypatch.setenv("INVOLUTION_TENSOR_CORES", tensor_cores)
    geometry = G(batch=8, groups=4, height=31, width=33, window=(7, 7))
    t = {name: value.cuda() for name, value in geometry.tensors(torch.bfloat16, True, reduced=16).items()}
    expected = results(lambda name: getattr(torch.ops.involution, name), t, geometry)
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    found = []
    for _ in range(5):
        for stream in streams:
            with torch.cuda.stream(stream):
                found.append(results(lambda name: getattr(torch.ops.involution, name), t, geometry))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found.append(results(lambda name: getattr(torch.ops.involution, name), t, geometry))
    graph.replay()
    torch.cuda.synchronize()
    for got in found:
        for name, value in expected.items():
            assert torch.equal(got[name], value), name


@needs_gpu
@pytest.mark.cuda
def test_autocast_trains_like_bfloat16():
    from involution import Involution2d

    layer = Involution2d(64).cuda()
    x = torch.randn(4, 64, 19, 21, device="cuda").contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = torch.autograd.grad(layer(x).square().mean(), [x, *layer.parameters()])
    with torch.autocast("cuda", torch.bfloat16):
        loss = layer(x).float().square().mean()
    for grad, true in zip(torch.autograd.grad(loss, [x, *layer.parameters()]), exact, strict=True):
        assert grad.dtype == true.dtype
        assert (grad - true).norm() <= 0.05 * true.norm()


@needs_gpu
@pytest.mark.cuda
def test_training_graph():
    from involution import Involution2d

    layer = Involution2d(64).cuda()
    x = torch.randn(2, 64, 9, 11, device="cuda", requires_grad=True)
    eager = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    compiled = torch.autograd.grad(torch.compile(layer, fullgraph=True)(x).square().sum(), [x, *layer.parameters()])
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
