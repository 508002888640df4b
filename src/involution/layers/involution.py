"""The involution layer: a kernel generated at every pixel, from that pixel, and applied there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from involution import ops
from involution.ops.geometry import per_axis

Size = int | Sequence[int]


class _Involution(nn.Module):
    """What the layers of one, two and three dimensions share: everything but the operator."""

    rank: ClassVar[int]
    conv_layer: ClassVar[type[nn.Module]]
    pool_layer: ClassVar[type[nn.Module]]
    default_norm: ClassVar[type[nn.Module]]

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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        _divides("group_channels", group_channels, channels)
        self.channels = channels
        self.out_channels = out_channels or channels
        self.groups = channels // group_channels
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank, least=1)
        self.stride = per_axis("stride", stride, self.rank, least=1)
        self.dilation = per_axis("dilation", dilation, self.rank, least=1)
        self.padding = [d * (k - 1) // 2 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        self.reduction_ratio = reduction_ratio

        # Ceiling mode averages the pixels that exist: one kernel per output pixel on odd sizes too, and the paper's
        # floor mode on even ones.
        strided = any(s > 1 for s in self.stride)
        self.pool = self.pool_layer(self.stride, ceil_mode=True) if strided else nn.Identity()
        reduced = channels
        self.conv1: nn.Module = nn.Identity()
        if reduction_ratio is not None:
            _divides("reduction_ratio", reduction_ratio, channels)
            reduced = channels // reduction_ratio
            norm = self.default_norm if norm_layer == "batch_norm" else norm_layer
            assert not isinstance(norm, str), norm
            parts = OrderedDict(conv=self.conv_layer(channels, reduced, 1, bias=norm is None, **factory))
            if norm is not None:
                parts["bn"] = norm(reduced, **factory)
            parts["act"] = act_layer()
            self.conv1 = nn.Sequential(parts)
        taps = self.groups
        for k in self.kernel_size:
            taps *= k
        self.conv2 = nn.Sequential(OrderedDict(conv=self.conv_layer(reduced, taps, 1, **factory)))
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

    def kernel(self, x: Tensor) -> Tensor:
        """Generate the kernel of every output pixel, [B, G, *window, *output size]."""
        taps = self.conv2(self.conv1(self.pool(x)))
        return taps.unflatten(1, [self.groups] + self.kernel_size)  # noqa: RUF005  (TorchScript knows no unpacking)

    def extra_repr(self) -> str:
        """Describe the layer in `print`."""
        return (
            f"{self.channels}, {self.out_channels}, kernel_size={tuple(self.kernel_size)}, "
            f"stride={tuple(self.stride)}, dilation={tuple(self.dilation)}, "
            f"group_channels={self.channels // self.groups}, reduction_ratio={self.reduction_ratio}"
        )


class Involution2d(_Involution):
    """Apply to every window a kernel that is generated from the pixel at its centre.

        kernel = W₁ · σ(BN(W₀ · x̄)) + b₁        y = involution2d(x, kernel)

    where x̄ is `x`, averaged over s x s pixels if the stride s is not 1. Li et al., "Involution", CVPR 2021, eq. 4 to 6.
    Parameters carry the names of the official module: `conv1.conv`, `conv1.bn`, `conv2.conv`.

    Args:
        channels: C of the input, [B, C, H, W].
        kernel_size, stride, dilation: of the window, in pixels; an int or (vertical, horizontal).
        group_channels: neighbouring channels that share a kernel; G = C / group_channels.
        reduction_ratio: r of the bottleneck C → C/r → K·K·G that generates the kernel. None: a single span C → K·K·G.
        out_channels: if not C, a 1x1 convolution follows the involution.
        norm_layer: called with C/r; "batch_norm" is `nn.BatchNorm2d`, None leaves a bias instead.
        act_layer: σ, called without arguments.

    Shape:
        [B, C, H, W] → [B, out_channels, ⌈H/s⌉, ⌈W/s⌉], memory format preserved.

    Raises:
        ValueError: C is not divisible by `group_channels` or `reduction_ratio`, or a size is not positive.

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

    def forward(self, x: Tensor) -> Tensor:
        # involution2d(x, self.kernel(x)) without the kernels in memory: K·K/16 times the feature map, 3.06 for K = 7.
        # That form is the faster one at every size measured, in training too, so there is no choice to make.
        span: Any = self.conv2.conv
        y = torch.ops.involution.involution2d_spanned(
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
        return self.proj(y)


class Involution1d(_Involution):
    """`Involution2d` over a sequence: [B, C, L] → [B, out_channels, ⌈L/s⌉]."""

    rank = 1
    conv_layer = nn.Conv1d
    pool_layer = nn.AvgPool1d
    default_norm = nn.BatchNorm1d

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(ops.involution1d(x, self.kernel(x), self.stride, "same", self.dilation))


class Involution3d(_Involution):
    """`Involution2d` over a volume: [B, C, D, H, W] → [B, out_channels, ⌈D/s⌉, ⌈H/s⌉, ⌈W/s⌉]."""

    rank = 3
    conv_layer = nn.Conv3d
    pool_layer = nn.AvgPool3d
    default_norm = nn.BatchNorm3d

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(ops.involution3d(x, self.kernel(x), self.stride, "same", self.dilation))


def _divides(name: str, divisor: int, channels: int) -> None:
    if divisor < 1 or channels % divisor:
        raise ValueError(f"{name}: expected a divisor of the {channels} channels, got {divisor}")
