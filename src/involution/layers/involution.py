"""The involution layer: a kernel generated at every pixel, from that pixel, and applied there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from involution import ops
from involution.layers.norm import NormActSequential
from involution.layers.span import Span
from involution.ops.geometry import Padding, Size, check_divisor, per_axis, per_side


class _Involution(nn.Module):
    """Base of the layers of one, two and three dimensions; it has everything except the types of their modules."""

    __constants__ = ("fused",)  # TorchScript evaluates the property when it compiles
    __jit_unused_properties__: ClassVar = ["fused"]

    rank: ClassVar[int]
    conv_layer: ClassVar[type[nn.Module]]
    pool_layer: ClassVar[type[nn.Module]]
    default_norm: ClassVar[type[nn.Module]]
    operator: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 7,
        stride: Size = 1,
        dilation: Size = 1,
        group_channels: int = 16,
        reduction_ratio: int | None = 4,
        out_channels: int | None = None,
        norm_layer: Callable[..., nn.Module] | str | None = "batch_norm",
        act_layer: Callable[..., nn.Module] = nn.ReLU,
        padding: Padding = "same",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        check_divisor("group_channels", group_channels, channels)
        self.channels = channels
        self.out_channels = out_channels or channels
        self.groups = channels // group_channels
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank, least=1)
        self.stride = per_axis("stride", stride, self.rank, least=1)
        self.dilation = per_axis("dilation", dilation, self.rank, least=1)
        self.sides = per_side(padding, self.kernel_size, self.dilation)
        spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if [front + behind for front, behind in self.sides] != spans:
            raise ValueError(f"padding: expected zeros that keep the size, {spans} in all per axis, got {padding!r}")
        self.padding = [front for front, _ in self.sides]
        self.reduction_ratio = reduction_ratio

        # Ceiling mode averages the pixels that exist: one kernel per output pixel on odd sizes too, and the paper's
        # floor mode on even ones.
        strided = any(s > 1 for s in self.stride)
        # There is no padding to include; without the argument, Inductor's gradient is wrong on odd sizes.
        pool = {"ceil_mode": True, "count_include_pad": False}
        self.pool = self.pool_layer(self.stride, **pool) if strided else nn.Identity()
        reduced = channels
        self.conv1: nn.Module = nn.Identity()
        if reduction_ratio is not None:
            check_divisor("reduction_ratio", reduction_ratio, channels)
            reduced = channels // reduction_ratio
            norm = self.default_norm if norm_layer == "batch_norm" else norm_layer
            if isinstance(norm, str):
                raise ValueError(f'norm_layer: expected "batch_norm", a callable or None, got {norm!r}')
            parts = OrderedDict(conv=self.conv_layer(channels, reduced, 1, bias=norm is None, **factory))
            if norm is not None:
                parts["bn"] = norm(reduced).to(**factory)
            parts["act"] = act_layer()
            self.conv1 = NormActSequential(parts)
        taps = self.groups
        for k in self.kernel_size:
            taps *= k
        self.conv2 = Span(self.conv_layer(reduced, taps, 1, **factory))
        self.proj: nn.Module = nn.Identity()
        if self.out_channels != channels:
            self.proj = self.conv_layer(channels, self.out_channels, 1, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the convolutions from the normal distribution of He et al. over the fan-out; set biases to zero."""
        for module in self.modules():
            if isinstance(module, self.conv_layer):
                assert isinstance(module.weight, Tensor)
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if isinstance(module.bias, Tensor):
                    nn.init.zeros_(module.bias)

    @property
    def fused(self) -> bool:
        """Whether kernels are not stored: the span is only its weight and bias, and `kernel` is the method below."""
        generates = getattr(self.kernel, "__func__", None) is _Involution.kernel
        return generates and getattr(self.conv2, "is_plain", False)

    def kernel(self, x: Tensor) -> Tensor:
        """Generate the kernel of every output pixel, [B, G, *window, *output size]."""
        taps = self.conv2(self.conv1(self.pool(x)))
        return taps.unflatten(1, [self.groups] + self.kernel_size)  # noqa: RUF005  (TorchScript lacks unpacking)

    def forward(self, x: Tensor) -> Tensor:
        # A proxy of torch.fx is not a tensor, and is always a batch.
        unbatched = isinstance(x, Tensor) and x.dim() == len(self.kernel_size) + 1
        if unbatched:
            x = x.unsqueeze(0)
        y = self.proj(self._aggregate(x))
        return y.squeeze(0) if unbatched else y

    def _aggregate(self, x: Tensor) -> Tensor:
        if not self.fused:
            return self.operator(x, self.kernel(x), self.stride, self.sides, self.dilation)
        # The same without storing the kernels, which take K·K/16 times the feature map, 3.06 for K = 7. This form is
        # faster at every size measured on a CPU, also in training.
        span: Any = self.conv2.conv
        reduced, weight = self.conv1(self.pool(x)), span.weight.flatten(1)
        geometry = (self.kernel_size, self.stride, self.sides, self.dilation)
        return ops.spanned_involution(x, reduced, weight, span.bias, *geometry)

    def extra_repr(self) -> str:
        """Describe the layer in `print`."""
        return (
            f"{self.channels}, {self.out_channels}, kernel_size={tuple(self.kernel_size)}, "
            f"stride={tuple(self.stride)}, dilation={tuple(self.dilation)}, "
            f"group_channels={self.channels // self.groups}, reduction_ratio={self.reduction_ratio}"
        )


class Involution2d(_Involution):
    """Apply a kernel to every window, generated from the pixel at its center.

        kernel = W₁ · σ(BN(W₀ · x̄)) + b₁        y = involution2d(x, kernel)

    where x̄ is `x`, averaged over s x s pixels if the stride s is not 1. Li et al., "Involution", CVPR 2021, eq. 4 to 6.
    Parameters have the names of the official module: `conv1.conv`, `conv1.bn`, `conv2.conv`.

    Args:
        channels: C of the input, [B, C, H, W].
        kernel_size, stride, dilation: of the window, in pixels; an int or (vertical, horizontal).
        group_channels: neighbouring channels that share a kernel; G = C / group_channels.
        reduction_ratio: r of the bottleneck C → C/r → K·K·G that generates the kernel. None: a single span C → K·K·G.
        out_channels: if not C, a 1x1 convolution follows the involution.
        norm_layer: called with C/r, then moved to `device` and `dtype`; "batch_norm" is `nn.BatchNorm2d`, None leaves a
            bias instead.
        act_layer: σ, called without arguments.
        padding: "same", or a pair (front, behind) per axis that adds up to d·(K−1).

    Shape:
        [B, C, H, W] → [B, out_channels, ⌈H/s⌉, ⌈W/s⌉], memory format preserved; [C, H, W] is a batch of one.

    Raises:
        ValueError: C is not divisible by `group_channels` or `reduction_ratio`, a size is not positive, or the padding
            does not keep the size.

    >>> layer = Involution2d(64, kernel_size=7, stride=2)
    >>> layer.kernel(torch.rand(1, 64, 15, 21)).shape
    torch.Size([1, 4, 7, 7, 8, 11])
    >>> layer(torch.rand(1, 64, 15, 21)).shape
    torch.Size([1, 64, 8, 11])
    """

    rank = 2
    conv_layer = nn.Conv2d
    pool_layer = nn.AvgPool2d
    default_norm = nn.BatchNorm2d

    operator = staticmethod(ops.involution2d)

    def _aggregate(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # TorchScript compiles no signatures with unions
            if self.fused:
                span: Any = self.conv2.conv
                return torch.ops.involution.involution2d_spanned(
                    x,
                    self.conv1(self.pool(x)),
                    span.weight.flatten(1),
                    span.bias,
                    self.groups,
                    self.kernel_size,
                    self.stride,
                    self.padding,
                    self.dilation,
                )
            else:
                return torch.ops.involution.involution2d(x, self.kernel(x), self.stride, self.padding, self.dilation)
        else:
            return super()._aggregate(x)


class Involution1d(_Involution):
    """`Involution2d` over a sequence: [B, C, L] → [B, out_channels, ⌈L/s⌉].

    The arguments are those of `Involution2d`, with one number per size; `norm_layer="batch_norm"` is `nn.BatchNorm1d`.
    `padding=[(dilation * (kernel_size - 1), 0)]` makes it causal.

    >>> layer = Involution1d(64, kernel_size=7, stride=2)
    >>> layer.kernel(torch.rand(1, 64, 15)).shape
    torch.Size([1, 4, 7, 8])
    >>> layer(torch.rand(1, 64, 15)).shape
    torch.Size([1, 64, 8])
    >>> causal = Involution1d(64, kernel_size=7, padding=[(6, 0)])
    >>> causal(torch.rand(1, 64, 15)).shape
    torch.Size([1, 64, 15])
    """

    rank = 1
    conv_layer = nn.Conv1d
    pool_layer = nn.AvgPool1d
    default_norm = nn.BatchNorm1d
    operator = staticmethod(ops.involution1d)


class Involution3d(_Involution):
    """`Involution2d` over a volume: [B, C, D, H, W] → [B, out_channels, ⌈D/s⌉, ⌈H/s⌉, ⌈W/s⌉].

    The arguments are those of `Involution2d`, with up to three numbers per size; `norm_layer="batch_norm"` is
    `nn.BatchNorm3d`.

    >>> layer = Involution3d(32, kernel_size=(1, 3, 3), stride=(1, 2, 2))
    >>> layer.kernel(torch.rand(1, 32, 4, 7, 9)).shape
    torch.Size([1, 2, 1, 3, 3, 4, 4, 5])
    >>> layer(torch.rand(1, 32, 4, 7, 9)).shape
    torch.Size([1, 32, 4, 4, 5])
    """

    rank = 3
    conv_layer = nn.Conv3d
    pool_layer = nn.AvgPool3d
    default_norm = nn.BatchNorm3d
    operator = staticmethod(ops.involution3d)
