"""RedNet: bottlenecks with involutions, in five depths.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021, section 4.
"""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from involution.layers import Involution2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, Trunk
from involution.weights import to_ours


class RedNet(Trunk):
    """RedNet, a ResNet whose 3x3 convolutions are 7x7 involutions, in the stem too.

    Args:
        depth: 26, 38, 50, 101 or 152.
        stem: "involution"; "conv", ResNet's 7x7 convolution; or "deep", three 3x3 convolutions. The paper's ablation
            counts networks with "conv".
        stem_kernel_size: of the stem's involution: 3 in the released classifiers; 7 in the released detectors and
            segmentors and in the paper's counts of parameters and FLOPs. Weights of one do not fit the other.
        kernel_size, group_channels, reduction_ratio: of the involutions in the blocks. `group_channels` "C" shares one
            kernel among all channels. `reduction_ratio` "W" or None generates kernels with a single linear map;
            `timm.create_model` drops arguments that are None.
        generator_norm: whether a batch norm follows the first of the two linear maps that generate a kernel.
        kwargs: passed to `Trunk`.

    Raises:
        ValueError: an argument is not one of the above.
    """

    def __init__(
        self,
        depth: int = 50,
        stem: str = "involution",
        stem_kernel_size: int = 3,
        kernel_size: int = 7,
        group_channels: int | str = 16,
        reduction_ratio: int | str | None = 4,
        generator_norm: bool = True,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if group_channels != "C" and not isinstance(group_channels, int):
            raise ValueError(f'group_channels: expected an int or "C", got {group_channels!r}')
        if reduction_ratio not in ("W", None) and not isinstance(reduction_ratio, int):
            raise ValueError(f'reduction_ratio: expected an int, "W" or None, got {reduction_ratio!r}')
        factory: dict[str, Any] = {"device": device, "dtype": dtype}

        def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            shared = group_channels if isinstance(group_channels, int) else channels
            ratio = reduction_ratio if isinstance(reduction_ratio, int) else None
            given = {"norm_layer": "batch_norm" if generator_norm else None, **factory}
            return Involution2d(channels, kernel_size, stride, dilation, shared, ratio, **given)

        def stem_mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            return Involution2d(channels, stem_kernel_size, stride, dilation, **factory)

        own = partial(stems.mixed, stem_mixer)
        super().__init__(plan(depth, DEPTHS), mixer, stems.choose(stem, involution=own), **factory, **kwargs)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a classifier or backbone of any release under our names; called by timm.

    Raises:
        ValueError: the stem involution of the checkpoint has another kernel size than that of the model.
    """
    weights = to_ours(state_dict.get("state_dict", state_dict)).weights
    span = "stem.1.conv2.conv.weight"
    ours = model.state_dict()
    if span in weights and span in ours and weights[span].shape != ours[span].shape:
        groups = ours["stem.0.conv.weight"].shape[0] // 16
        sizes = [isqrt(w.shape[0] // groups) for w in (ours[span], weights[span])]
        raise ValueError(
            f"stem_kernel_size: expected {sizes[1]}, the stem of this checkpoint, got {sizes[0]}; "
            "classifiers were released with 3, detectors and segmentors with 7"
        )
    return weights


default_cfgs = configurations(
    (f"rednet{depth}" for depth in DEPTHS),
    first_conv="stem.0.conv",
    paper_ids="arXiv:2103.06255",
    origin_url="https://github.com/d-li14/involution",
)


@register_model
def rednet26(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-26: 9.23 M parameters, 1.73 G multiply-adds with the 7x7 stem."""
    return create(RedNet, "rednet26", pretrained, pretrained_filter_fn=checkpoint_filter_fn, depth=26, **kwargs)


@register_model
def rednet38(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-38."""
    return create(RedNet, "rednet38", pretrained, pretrained_filter_fn=checkpoint_filter_fn, depth=38, **kwargs)


@register_model
def rednet50(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-50."""
    return create(RedNet, "rednet50", pretrained, pretrained_filter_fn=checkpoint_filter_fn, depth=50, **kwargs)


@register_model
def rednet101(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-101."""
    return create(RedNet, "rednet101", pretrained, pretrained_filter_fn=checkpoint_filter_fn, depth=101, **kwargs)


@register_model
def rednet152(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-152."""
    return create(RedNet, "rednet152", pretrained, pretrained_filter_fn=checkpoint_filter_fn, depth=152, **kwargs)
