"""Forward mode, `torch.func` and `torch.vmap` against finite differences and loops, in float64."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils import _pytree as pytree

from involution import involution1d, involution2d, involution3d

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's forward mode calls it

ops = torch.ops.involution
GEOMETRY = ([2, 1], [1, 1], [1, 2])
SHAPES = {
    "x": (2, 4, 3, 5),
    "grad": (2, 4, 2, 3),
    "kernel": (2, 2, 3, 3, 2, 3),
    "reduced": (2, 2, 2, 3),
    "weight": (18, 2),
    "bias": (18,),
}
OPERATORS = {
    "involution2d": ("x kernel", lambda x, k: ops.involution2d(x, k, *GEOMETRY)),
    "grad_x": ("grad kernel", lambda g, k: ops.involution2d_grad_x(g, k, [3, 5], *GEOMETRY)),
    "grad_kernel": ("grad x", lambda g, x: ops.involution2d_grad_kernel(g, x, 2, [3, 3], *GEOMETRY)),
    "spanned": ("x reduced weight bias", lambda *t: ops.involution2d_spanned(*t, 2, [3, 3], *GEOMETRY)),
    "without bias": ("x reduced weight", lambda *t: ops.involution2d_spanned(*t, None, 2, [3, 3], *GEOMETRY)),
    "spanned_backward": (
        "grad x reduced weight bias",
        lambda *t: ops.involution2d_spanned_backward(*t, 2, [3, 3], *GEOMETRY),
    ),
}
every_operator = pytest.mark.parametrize(("names", "f"), OPERATORS.values(), ids=OPERATORS)


def draw(names: str, *mapped: int) -> list[Tensor]:
    return [torch.randn(*mapped, *SHAPES[name], dtype=torch.float64) for name in names.split()]


def loss(f):
    return lambda *inputs: sum(out.square().sum() for out in pytree.tree_leaves(f(*inputs)))


def differences(f, x: Tensor, step: float = 1e-5) -> Tensor:
    """The Jacobian of `f` at `x` by central differences, [*f(x), *x]."""
    columns = [
        (f(x + step * e) - f(x - step * e)) / (2 * step) for e in torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    ]
    return torch.stack(columns, -1).unflatten(-1, x.shape)


@every_operator
def test_forward_and_reverse_mode_against_finite_differences(names, f):
    inputs = [value.requires_grad_() for value in draw(names)]
    batched = {"check_batched_grad": True, "check_forward_ad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(f, inputs, fast_mode=True, **batched)
    assert torch.autograd.gradgradcheck(f, inputs, fast_mode=True, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_public_functions_under_the_transforms(rank):
    operator = (involution1d, involution2d, involution3d)[rank - 1]
    x = torch.randn(2, 2, *[3, 2, 2][:rank], dtype=torch.float64)
    kernel = torch.randn(2, 1, *[2] * rank, *[2, 1, 1][:rank], dtype=torch.float64)

    def of_x(x):
        return operator(x, kernel, stride=2)

    def of_kernel(kernel):
        return operator(x, kernel, stride=2)

    for f, at in ((of_x, x), (of_kernel, kernel)):
        expected = differences(f, at)
        torch.testing.assert_close(jacfwd(f)(at), expected)
        torch.testing.assert_close(jacrev(f)(at), expected)
        tangent = torch.randn_like(at)
        torch.testing.assert_close(jvp(f, (at,), (tangent,))[1], (expected * tangent).flatten(x.dim()).sum(-1))
        slope = grad(loss(f))
        torch.testing.assert_close(slope(at), differences(loss(f), at))
        torch.testing.assert_close(hessian(loss(f))(at), differences(slope, at))


@every_operator
def test_vmap_is_a_loop(names, f):
    """Every choice of mapped arguments, at any dimension; a fallback would warn, which is an error."""
    size = 3
    for n, dims in enumerate(itertools.product((None, 0, -1), repeat=len(names.split()))):
        if not any(dim is not None for dim in dims) or (len(dims) > 3 and n % 7):
            continue
        inputs = [
            value if dim is None else value.movedim(0, dim) for value, dim in zip(draw(names, size), dims, strict=True)
        ]
        inputs = [value[0] if dim is None else value for value, dim in zip(inputs, dims, strict=True)]
        samples = [[v if d is None else v.select(d, i) for v, d in zip(inputs, dims, strict=True)] for i in range(size)]
        expected = [pytree.tree_leaves(f(*sample)) for sample in samples]
        got = pytree.tree_leaves(vmap(f, dims)(*inputs))
        torch.testing.assert_close(got, [torch.stack(outputs) for outputs in zip(*expected, strict=True)])


@every_operator
def test_transforms_of_transforms(names, f):
    inputs, every = draw(names, 2, 2), tuple(range(len(names.split())))
    leaves = [value.clone().requires_grad_() for value in inputs]
    total = sum(loss(f)(*(leaf[i, j] for leaf in leaves)) for i in range(2) for j in range(2))
    expected = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(vmap(vmap(grad(loss(f), every)))(*inputs), expected)  # gradients per sample
    torch.testing.assert_close(grad(lambda *v: vmap(vmap(loss(f)))(*v).sum(), every)(*inputs), expected)

    def product(*inputs):  # of the Hessian with the inputs
        return jvp(grad(loss(f), every), inputs, inputs)[1]

    one = [value[0] for value in inputs]
    looped = [product(*(value[i] for value in one)) for i in range(2)]
    torch.testing.assert_close(vmap(product)(*one), tuple(map(torch.stack, zip(*looped, strict=True))))
    expected = hessian(loss(f))(*(value[0] for value in one))
    torch.testing.assert_close(jacrev(jacfwd(loss(f)))(*(value[0] for value in one)), expected)
    torch.testing.assert_close(jacfwd(jacfwd(loss(f)))(*(value[0] for value in one)), expected)


@every_operator
def test_forward_mode_of_forward_mode_in_all_arguments(names, f):
    """Along a line through the arguments, whose products have mixed second and third derivatives."""
    inputs, at = draw(names), torch.ones((), dtype=torch.float64)

    def on_line(t):
        return sum(out.sum() for out in pytree.tree_leaves(f(*(value * t for value in inputs))))

    for forward, reverse in (
        (jacfwd(jacfwd(on_line)), jacrev(jacrev(on_line))),
        (
            jacfwd(jacfwd(jacfwd(on_line))),
            jacrev(jacrev(jacrev(on_line))),
        ),
    ):
        torch.testing.assert_close(forward(at), reverse(at))


def dual(f, inputs):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(*(forward_ad.make_dual(value, value) for value in inputs))).tangent


def test_the_public_functions_where_nothing_is_recorded():
    """Without grad mode they skip the kernel that records, but not tangents, transforms and dispatch modes."""
    from torch.utils.flop_counter import FlopCounterMode

    x, kernel = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(2, 2, 3, 3, 3, 5, dtype=torch.float64)
    expected = involution2d(x, kernel)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.testing.assert_close(involution2d(x.requires_grad_(), kernel), expected.detach())
        torch.testing.assert_close(dual(involution2d, (x, kernel)), 2 * expected)
        torch.testing.assert_close(vmap(lambda k: involution2d(x, k))(kernel[None]), expected[None])
    assert counter.get_flop_counts()["Global"][ops.involution2d] == 5 * 2 * 9 * x.numel()
    assert involution2d(x, kernel).requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("name", ["involution2d", "spanned"])
def test_transforms_compile_without_graph_breaks(name):
    names, f = OPERATORS[name]
    transforms = {
        "jvp": lambda *v: jvp(f, v, v),
        "dual numbers": lambda *v: dual(f, v),
        "forward mode of forward mode": lambda *v: jvp(lambda *u: jvp(f, u, v)[1], v, v)[1],
        "product with the Hessian": lambda *v: jvp(grad(loss(f)), v, v)[1],
        "gradients per sample": lambda *v: vmap(grad(loss(f)))(*(value.expand(2, *value.shape) for value in v)),
    }
    inputs = draw(names)
    for transform in transforms.values():
        compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*inputs), transform(*inputs))


def test_a_backward_that_is_compiled_or_counted_stays_one_operator():
    """Only a derivative of the backward takes the spanned backward apart."""
    from torch.utils.flop_counter import FlopCounterMode

    inputs = [value.requires_grad_() for value in draw("x reduced weight bias")]
    with FlopCounterMode(display=False) as counter:
        loss(OPERATORS["spanned"][1])(*inputs).backward()
    assert set(counter.get_flop_counts()["Global"]) == {ops.involution2d_spanned, ops.involution2d_spanned_backward}
