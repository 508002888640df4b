"""The Triton programs against the reference in float64: in Triton's interpreter, or on the GPU where there is one.

Run by test_cuda.py, in a process of its own: Triton decides when it is first imported whether it interprets.
"""

import pytest
import torch
from geometries import Geometry, empty_batch
from test_operators import plain, results

from involution.ops import cuda

GPU = torch.cuda.is_available()
if not GPU:
    # The interpreter prepares triton.language again for every call of a device function, which is most of its time;
    # once a launch is enough.
    from triton.runtime.interpreter import InterpretedFunction

    InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(*args, **kwargs)
DEVICE = "cuda" if GPU else "cpu"
G = Geometry

# As in test_operators; but the interpreter cuts bfloat16 off where a GPU rounds, kernels' gradients twice.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}

GEOMETRIES = {
    "7x7": G(batch=1, height=5, width=9, window=(7, 7)),
    "odd, stride 2": G(height=7, width=9, stride=(2, 2)),
    "even, stride 2": G(batch=1, groups=1, height=6, width=10, window=(5, 5), stride=(2, 2)),
    "dilation 2": G(height=5, width=7, dilation=(2, 2)),
    "dilation and stride": G(batch=1, height=7, width=8, window=(3, 4), stride=(2, 3), dilation=(3, 2)),
    "stride beyond window": G(batch=1, height=7, width=8, window=(2, 2), stride=(3, 4)),
    "several tiles": G(batch=3, groups=1, group_channels=4, height=9, width=14, window=(1, 3)),
    "1x1": G(height=3, width=5, window=(1, 1)),
    "column": G(height=6, width=3, window=(5, 1)),
    "window larger than image": G(batch=1, height=2, width=3, window=(3, 9)),
    "one group": G(batch=1, groups=1, group_channels=48, height=3, width=6),
    "a group wider than a tile": G(batch=1, groups=1, group_channels=72, height=2, width=5, window=(2, 3)),
    "more groups than a tile has": G(batch=1, groups=6, height=2, width=5, window=(2, 3)),
    "1 channel a group": G(batch=1, groups=6, group_channels=1, height=3, width=6),
    "3 channels a group": G(groups=2, group_channels=3, height=3, width=6),
    "4 channels a group": G(batch=1, groups=3, group_channels=4, height=3, width=6),
    "20 channels a group": G(batch=1, groups=3, group_channels=20, height=3, width=5),
}


@pytest.fixture(autouse=True)
def nan_outputs(monkeypatch):
    """Fill what is allocated for results with NaN: what is not written shows."""
    allocate = torch.Tensor.new_empty

    def poisoned(self, *args, **kwargs):
        return allocate(self, *args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision = before


def run(name):
    return getattr(cuda, name)


def check(t, geometry):
    """Compare all operators on the tensors `t` with the reference; return what they gave."""
    dtype = t["x"].dtype
    got = results(run, {name: value.to(DEVICE) for name, value in t.items()}, geometry)
    for name, expected in results(plain, {name: value.double() for name, value in t.items()}, geometry).items():
        value = got[name]
        assert value.dtype == dtype, name
        assert value.shape == expected.shape, name
        if expected.numel():
            error = (value.cpu().double() - expected).abs().max() / expected.abs().max().clamp(min=1)
            assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"
    return got


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values(geometry, channels_last):
    check(geometry.tensors(torch.float32, channels_last), geometry)


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(dtype, channels_last):
    geometry = G(height=5, width=6, window=(3, 5))
    check(geometry.tensors(dtype, channels_last), geometry)


@pytest.mark.parametrize("features", [1, 16, 150])
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
    "mask", [(True, False, False, False), (False, True, False, False), (False, False, True, True)], ids=str
)
def test_output_mask(mask):
    geometry = G(batch=1, height=3, width=5)
    t = geometry.tensors(torch.float32, True)
    span = t["reduced"], t["weight"], t["bias"], geometry.groups, geometry.window, *geometry.arguments
    expected = plain("involution2d_spanned_backward")(t["grad"], t["x"], *span, mask)
    moved = [v.to(DEVICE) if isinstance(v, torch.Tensor) else v for v in span]
    grads = cuda.involution2d_spanned_backward(t["grad"].to(DEVICE), t["x"].to(DEVICE), *moved, mask)
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
def test_memory_format_is_that_of_the_schema(channels_last):
    geometry = G(batch=1, height=4, width=5)
    t = {name: value.to(DEVICE) for name, value in geometry.tensors(torch.float32, channels_last).items()}
    meta = {name: value.to("meta") for name, value in t.items()}
    expected = results(lambda name: getattr(torch.ops.involution, name), meta, geometry)
    for name, value in results(run, t, geometry).items():
        assert value.stride() == expected[name].stride(), name


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_empty_batch(channels_last):
    got = check(empty_batch().tensors(torch.float32, channels_last), empty_batch())
    assert not any(got[f"spanned grad {i}"].any() for i in (2, 3))


def test_gradients_are_the_same_in_every_run():
    geometry = G(batch=4, height=24, width=24, window=(7, 7)) if GPU else G(batch=1, height=5, width=6)
    t = {name: value.to(DEVICE) for name, value in geometry.tensors(torch.float32, True).items()}
    first, second = results(run, t, geometry), results(run, t, geometry)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("programs", [1, 3, 264])
def test_gradient_of_the_weight_in_parts(programs, monkeypatch):
    from involution.ops.cuda import spanned_grad_span

    monkeypatch.setattr(spanned_grad_span, "WORKSPACE", 0)
    monkeypatch.setattr(spanned_grad_span, "PROGRAMS", programs)
    geometry = G(batch=3, groups=6, group_channels=16, height=6, width=7, window=(1, 3))
    check(geometry.tensors(torch.float32, True), geometry)


def test_far_tensors_are_counted_in_64_bits(monkeypatch):
    import triton.language as tl

    from involution.ops.cuda import launch

    near, far = torch.empty(2, 8, 4, 4, device="meta"), torch.empty(2**20, 64, 8, 8, device="meta")
    assert launch.index_dtype(near) == tl.int32
    assert launch.index_dtype(near, far) == tl.int64
    monkeypatch.setattr(launch, "index_dtype", lambda *_: tl.int64)
    geometry = G(batch=1, height=4, width=5)
    check(geometry.tensors(torch.float32, True), geometry)


def test_memory_beyond_32_bits():
    geometry = G(batch=2, groups=1, group_channels=2, height=2, width=3)
    t = geometry.tensors(torch.float16)
    x = torch.empty(2**31 + 2**10, dtype=torch.float16, device=DEVICE)[:: 2**31][:2]  # pages are taken when written
    far = x.as_strided(t["x"].shape, (2**31, 6, 3, 1)).copy_(t["x"])
    y = cuda.involution2d(far, t["kernel"].to(DEVICE), *geometry.arguments)
    expected = plain("involution2d")(t["x"].double(), t["kernel"].double(), *geometry.arguments)
    torch.testing.assert_close(y.cpu().double(), expected, rtol=4e-3, atol=4e-3)


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
def test_training_graph():
    from involution import Involution2d

    layer = Involution2d(64).cuda()
    x = torch.randn(2, 64, 9, 11, device="cuda", requires_grad=True)
    eager = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    compiled = torch.autograd.grad(torch.compile(layer, fullgraph=True)(x).square().sum(), [x, *layer.parameters()])
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
