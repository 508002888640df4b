"""Parameters and arithmetic of a network, counted on the meta device from shapes alone.

There are two counts, which share no code. `macs` uses PyTorch's counter of multiply-adds, operator by operator.
`published_flops` follows the paper, module by module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import split_model_name_tag
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from involution.layers import Involution2d
from involution.models.counting.convention import published_flops
from involution.models.detection.detectors import DETECTORS, sweep, uncounted
from involution.models.segmentation.segmentors import SEGMENTORS, Segmentor, synchronize_norms
from involution.models.skeleton.options import check_options
from involution.models.skeleton.registration import entrypoint
from involution.models.skeleton.weights import LATER

BUILDERS: dict[str, Callable[..., nn.Module]] = {**SEGMENTORS, **DETECTORS}
"""Builders of networks for dense prediction, by the first part of the name; the other parts are arguments."""

SIZES = {**dict.fromkeys(SEGMENTORS, (1024, 2048)), **dict.fromkeys(DETECTORS, (800, 1280))}
"""Height and width, in pixels, for which the arithmetic of these networks was published."""


def profile(name: str, input_size: tuple[int, int] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Count parameters and arithmetic of a network for one image.

    The paper's FLOPs are multiply-adds of convolutions, their biases (1 per output element), batch norms (2 per
    element), ReLU (1), poolings (1 per input element) and the aggregation C·Kh·Kw·Ho·Wo of every involution, without
    the classifier: the only rule that gives the two decimals printed for all five RedNets (with the 7x7 stem). In
    segmentors, norms that are synchronized over processes do not count, and the auxiliary head is not counted.

    Args:
        name: of a network in timm's registry; or, for dense prediction, detector/backbone/neck/head and
            segmentor/backbone/neck, for example mask_rcnn/rednet50/involution or upernet/resnet50.
        input_size: height and width of the image in pixels; None is the size of the published figures, 224 x 224 for
            classifiers, 800 x 1280 for detectors and 1024 x 2048 for segmentors.
        kwargs: of the network, for example `stem_kernel_size=7`.

    Returns:
        name, input_size; params and trainable_params; macs, multiply-adds with the classifier; published_flops.

    Raises:
        ValueError: the name is unknown, or the network takes no such size or argument.

    >>> profile("rednet50", stem_kernel_size=7)["published_flops"]
    2713184096
    """
    size = tuple(SIZES.get(name.partition("/")[0], (224, 224)) if input_size is None else input_size)
    if len(size) != 2 or not all(isinstance(s, int) and s >= 1 for s in size):
        raise ValueError(f"input_size: expected height and width in pixels, each at least 1, got {input_size!r}")
    model = build(name, **kwargs).eval()
    counts = _count(model, name, (1, _channels(model, kwargs), *size))
    return {
        "name": name,
        "input_size": list(size),
        "params": sum(p.numel() for p in model.parameters()),
        "trainable_params": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **counts,
    }


def build(name: str, **kwargs: Any) -> nn.Module:
    """Build the network `name` on the meta device, with the norms that the published counts assume.

    Raises:
        ValueError: the name is unknown or the network does not take `kwargs`.
    """
    kind, *parts = name.split("/")
    if parts:
        return _dense(name, kind, parts, kwargs)
    check_options(kwargs)
    network = entrypoint(name)
    try:
        with torch.device("meta"):
            # Not `create_model`, which drops arguments that are None.
            return network(pretrained=False, pretrained_cfg=split_model_name_tag(name)[1], **kwargs)
    except (TypeError, RuntimeError, AssertionError) as error:  # timm asserts values
        raise ValueError(f"{name}: expected arguments of the network, got {kwargs} ({error})") from error


def _dense(name: str, kind: str, parts: Sequence[str], kwargs: dict[str, Any]) -> nn.Module:
    if kind not in BUILDERS:
        raise ValueError(f"name: expected one of {', '.join(BUILDERS)} in front of the backbone, got {name!r}")
    try:
        with torch.device("meta"):
            # The published trainable parameters of detectors leave out the stem and the first stage.
            frozen = {"frozen_stages": 1} if kind in DETECTORS else {}
            network = BUILDERS[kind](*parts, **{**frozen, **kwargs, "weights": LATER})
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"name: expected parts and arguments of {kind}, got {name!r} and {kwargs} ({error})") from None
    return synchronize_norms(network) if isinstance(network, Segmentor) else network


def _channels(model: nn.Module, kwargs: dict[str, Any]) -> int:
    config = getattr(model, "pretrained_cfg", None) or {}
    return kwargs.get("in_chans") or config.get("input_size", (3,))[0]


def _count(model: nn.Module, name: str, shape: Sequence[int]) -> dict[str, int]:
    published = 0

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal published
        published += published_flops(module, inputs[0], y)

    ignored = _ignored(model)
    handles = [module.register_forward_hook(hook) for module in model.modules() if module not in ignored]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            sweep(model, torch.empty(*shape, device="meta"))
    except (AssertionError, RuntimeError) as error:  # timm asserts the size of images
        height, width = shape[2:]
        message = f"input_size: expected a size that {name} takes, got {height} x {width} ({error})"
        raise ValueError(message) from error
    finally:
        for handle in handles:
            handle.remove()
    return {"macs": counter.get_total_flops() // 2, "published_flops": published}


def _ignored(model: nn.Module) -> set[nn.Module]:
    """Return the modules that the paper's rule leaves out, or that are counted with the layer around them."""
    classifier = getattr(model, "get_classifier", lambda: None)()
    ignored = set(classifier.modules()) if isinstance(classifier, nn.Module) else set()
    ignored |= set(uncounted(model))
    # An involution may fuse its span with the aggregation, and the convolution is then never called.
    return ignored | {
        module.conv2.get_submodule("conv") for module in model.modules() if isinstance(module, Involution2d)
    }
