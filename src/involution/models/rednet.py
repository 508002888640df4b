"""RedNet: the bottleneck skeleton with involutions, five depths in timm's registry.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021, section 4.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from involution.layers import Involution2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import preprocessing
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, Trunk


class RedNet(Trunk):
    """RedNet, a ResNet whose 3x3 convolutions are 7x7 involutions, in the stem too.

    Args:
        depth: 26, 38, 50, 101 or 152.
        stem: "involution"; or "conv", ResNet's 7x7 convolution, and "deep", three 3x3 convolutions. The figures of the
            paper's ablation are those of "conv".
        stem_kernel_size: of the stem's involution. 3 in the released classifiers; 7 in the released detectors and
            segmentors, and in the paper's counts of parameters and FLOPs. Weights of one do not fit the other.
        kernel_size, group_channels, reduction_ratio: of the involutions in the blocks. `group_channels` "C" is one
            kernel for all channels; `reduction_ratio` "W" a single span, as is None, which timm.create_model drops.
        kwargs: of `Trunk`.

    Raises:
        ValueError: an argument has none of the values above.
    """

    def __init__(
        self,
        depth: int = 50,
        stem: str = "involution",
        stem_kernel_size: int = 3,
        kernel_size: int = 7,
        group_channels: int | str = 16,
        reduction_ratio: int | str | None = 4,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if group_channels != "C" and not isinstance(group_channels, int):
            raise ValueError(f'group_channels: expected an int or "C", got {group_channels!r}')
        if reduction_ratio not in ("W", None) and not isinstance(reduction_ratio, int):
            raise ValueError(f'reduction_ratio: expected an int, "W" or None, got {reduction_ratio!r}')
        factory = {"device": device, "dtype": dtype}

        def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            shared = group_channels if isinstance(group_channels, int) else channels
            ratio = reduction_ratio if isinstance(reduction_ratio, int) else None
            return Involution2d(channels, kernel_size, stride, dilation, shared, ratio, **factory)

        def stem_mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            return Involution2d(channels, stem_kernel_size, stride, dilation, **factory)

        own = partial(stems.mixed, stem_mixer)
        super().__init__(plan(depth, DEPTHS), mixer, stems.choose(stem, involution=own), **factory, **kwargs)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an official classifier or backbone checkpoint under our names.

    The official names are ours behind `backbone.` and `head.`; a training checkpoint holds them under `state_dict`. One
    of `involution fit` has them behind `net.`.

    Raises:
        ValueError: the stem involution of the checkpoint has another kernel size than the model's.
    """
    weights: dict[str, Tensor] = state_dict.get("state_dict", state_dict)
    for prefix in ("net.", "backbone.", "head."):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    span = "stem.1.conv2.conv.weight"
    ours = model.state_dict()
    if span in weights and span in ours and weights[span].shape != ours[span].shape:
        sizes = [round((w.shape[0] * 16 / (stems.HALF)) ** 0.5) for w in (ours[span], weights[span])]
        raise ValueError(
            f"stem_kernel_size: expected {sizes[1]}, the stem of this checkpoint, got {sizes[0]}; "
            "classifiers were released with 3, detectors and segmentors with 7"
        )
    return weights


default_cfgs = generate_default_cfgs(
    {
        f"rednet{depth}.untrained": preprocessing(
            first_conv="stem.0.conv",
            paper_ids="arXiv:2103.06255",
            origin_url="https://github.com/d-li14/involution",
        )
        for depth in DEPTHS
    }
)


def _create(depth: int, pretrained: bool, **kwargs: Any) -> RedNet:
    model: RedNet = build_model_with_cfg(
        RedNet,
        f"rednet{depth}",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3)},
        depth=depth,
        **kwargs,
    )
    return model


@register_model
def rednet26(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-26: 9.23 M parameters, 1.73 G multiply-adds with the 7x7 stem."""
    return _create(26, pretrained, **kwargs)


@register_model
def rednet38(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-38."""
    return _create(38, pretrained, **kwargs)


@register_model
def rednet50(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-50."""
    return _create(50, pretrained, **kwargs)


@register_model
def rednet101(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-101."""
    return _create(101, pretrained, **kwargs)


@register_model
def rednet152(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """RedNet-152."""
    return _create(152, pretrained, **kwargs)
