"""RedNet: the bottleneck skeleton with involutions, five depths in timm's registry.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021, section 4.
"""

from __future__ import annotations

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import get_act_layer, get_norm_layer
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from involution.layers import Involution2d
from involution.models import stems
from involution.models.trunk import DEPTHS, Layer, Trunk


class RedNet(Trunk):
    """RedNet, a ResNet whose 3x3 convolutions are 7x7 involutions, in the stem too.

    Args:
        depth: 26, 38, 50, 101 or 152.
        stem: "involution"; or "conv", ResNet's 7x7 convolution, and "deep", three 3x3 convolutions. The figures of the
            paper's ablation are those of "conv".
        stem_kernel_size: of the stem's involution. 3 in the released classifiers; 7 in the released detectors and
            segmentors, and in the paper's counts of parameters and FLOPs. Weights of one do not fit the other.
        stem_stride: reduction in front of the first stage. 4 for ImageNet sizes; 2 drops the max pooling and 1 the
            stride of the first convolution as well, for images of 64 and 32 pixels.
        kernel_size, group_channels, reduction_ratio: of the involutions in the blocks. `group_channels` "C" is one
            kernel for all channels; `reduction_ratio` "W" a single span, as is None, which timm.create_model drops.
        norm_layer, act_layer: of stem and bottlenecks, a layer or its name in timm; involutions keep their own.
        kwargs: of `Trunk`.

    Raises:
        ValueError: an argument has none of the values above.
    """

    def __init__(
        self,
        depth: int = 50,
        stem: str = "involution",
        stem_kernel_size: int = 3,
        stem_stride: int = 4,
        kernel_size: int = 7,
        group_channels: int | str = 16,
        reduction_ratio: int | str | None = 4,
        in_chans: int = 3,
        norm_layer: str | Layer = nn.BatchNorm2d,
        act_layer: str | Layer = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"depth: expected one of {sorted(DEPTHS)}, got {depth}")
        if group_channels != "C" and not isinstance(group_channels, int):
            raise ValueError(f'group_channels: expected an int or "C", got {group_channels!r}')
        if reduction_ratio not in ("W", None) and not isinstance(reduction_ratio, int):
            raise ValueError(f'reduction_ratio: expected an int, "W" or None, got {reduction_ratio!r}')
        factory = {"device": device, "dtype": dtype}
        norm, act = get_norm_layer(norm_layer), get_act_layer(act_layer)

        def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            shared = group_channels if isinstance(group_channels, int) else channels
            ratio = reduction_ratio if isinstance(reduction_ratio, int) else None
            return Involution2d(channels, kernel_size, stride, dilation, shared, ratio, **factory)

        def stem_mixer(channels: int, stride: int, dilation: int) -> nn.Module:
            return Involution2d(channels, stem_kernel_size, stride, dilation, **factory)

        super().__init__(
            DEPTHS[depth],
            mixer,
            stems.build(stem, "involution", stem_mixer, in_chans, stem_stride, norm, act, **factory),
            stem_stride=stem_stride,
            stem_pool=stem_stride == 4,
            in_chans=in_chans,
            norm_layer=norm,
            act_layer=act,
            **factory,
            **kwargs,
        )


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an official classifier or backbone checkpoint under our names.

    The official names are ours behind `backbone.` and `head.`; a training checkpoint holds them under `state_dict`.

    Raises:
        ValueError: the stem involution of the checkpoint has another kernel size than the model's.
    """
    weights: dict[str, Tensor] = state_dict.get("state_dict", state_dict)
    weights = {name.removeprefix("backbone.").removeprefix("head."): value for name, value in weights.items()}
    span = "stem.1.conv2.conv.weight"
    ours = model.state_dict()
    if span in weights and span in ours and weights[span].shape != ours[span].shape:
        sizes = [round((w.shape[0] * 16 / (stems.CHANNELS // 2)) ** 0.5) for w in (ours[span], weights[span])]
        raise ValueError(
            f"stem_kernel_size: expected {sizes[1]}, the stem of this checkpoint, got {sizes[0]}; "
            "classifiers were released with 3, detectors and segmentors with 7"
        )
    return weights


def _cfg(**kwargs: Any) -> dict[str, Any]:
    """Preprocessing of the released classifiers: short side to 256, centre crop of 224."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.0.conv",
        "classifier": "fc",
        "license": "mit",
        "paper_ids": "arXiv:2103.06255",
        "origin_url": "https://github.com/d-li14/involution",
        **kwargs,
    }


default_cfgs = generate_default_cfgs({f"rednet{depth}.untrained": _cfg() for depth in DEPTHS})


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
