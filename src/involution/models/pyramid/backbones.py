"""Classifiers as backbones: the maps of their four stages, with the first stages frozen where they are pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import timm
from timm.layers.format import Format, nhwc_to
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from involution.models import rednet
from involution.models.skeleton.registration import entrypoint

STAGES = 4


class Backbone(nn.Module):
    """A network of timm's registry that gives the maps of its stages.

    Args:
        body: a network made with `features_only`.
        frozen_stages: −1 trains everything; 0 freezes what stands in front of the first stage; n the first n stages as
            well. What is frozen takes no gradient and its norms keep their statistics.
        norm_eval: all batch norms use and keep their statistics in training too; their weights are trained where they
            are not frozen.

    Shape:
        [B, 3, H, W] → list of [B, channels(i), ⌈H / reductions(i)⌉, ⌈W / reductions(i)⌉].
    """

    def __init__(self, body: nn.Module, frozen_stages: int, norm_eval: bool) -> None:
        super().__init__()
        if not -1 <= frozen_stages <= STAGES:
            raise ValueError(f"frozen_stages: expected -1 to {STAGES}, got {frozen_stages}")
        self.body = body
        info: Any = body.feature_info
        self.channels: list[int] = info.channels()
        self.reductions: list[int] = info.reduction()
        self.pretrained_cfg = getattr(body, "pretrained_cfg", None)
        self.last_channels = getattr(body, "output_fmt", Format.NCHW) == Format.NHWC
        self.norm_eval = norm_eval
        self.frozen: list[str] = []
        if frozen_stages >= 0:
            trained = [stage["module"] for stage in info.info[-STAGES:]][frozen_stages:]
            self.frozen = _before(body, trained[0] if trained else None)
        for name in self.frozen:
            for parameter in body.get_submodule(name).parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train()  # Lightning leaves modules in the mode that it finds them in

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode of everything but what is frozen."""
        super().train(mode)
        for name in self.frozen:
            self.body.get_submodule(name).training = False
        if self.norm_eval:
            for module in self.body.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.body(x)
        return [nhwc_to(y, Format.NCHW) for y in maps] if self.last_channels else maps


def create_backbone(
    name: str,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    frozen_stages: int = -1,
    norm_eval: bool = False,
    **kwargs: Any,
) -> Backbone:
    """Create the backbone `name` with the maps of the stages `out_indices`, of strides 4, 8, 16 and 32.

    Args:
        name: of a network in timm's registry, ours or timm's, that has four stages.
        out_indices: stages from 0 to 3.
        frozen_stages, norm_eval: of `Backbone`.
        kwargs: of the network, for example `pretrained=True`. The stem involution of RedNets is 7x7 unless
            `stem_kernel_size` says otherwise: the released detectors and segmentors have it so.

    Raises:
        ValueError: there is no such network or stage, or the network takes no such argument.

    >>> import torch
    >>> [tuple(y.shape) for y in create_backbone("rednet26")(torch.rand(1, 3, 64, 96))]
    [(1, 256, 16, 24), (1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]
    """
    if not out_indices or any(index not in range(STAGES) for index in out_indices):
        raise ValueError(f"out_indices: expected stages from 0 to {STAGES - 1}, got {tuple(out_indices)}")
    if entrypoint(name).__module__ == rednet.__name__:
        kwargs.setdefault("stem_kernel_size", 7)
    # Counted from the end: some networks of timm give the map of their stem first.
    indices = tuple(index - STAGES for index in out_indices)
    try:
        body = timm.create_model(name, features_only=True, out_indices=indices, **kwargs)
    except (TypeError, AttributeError, AssertionError, IndexError) as error:
        raise ValueError(
            f"backbone: expected a network with four stages that takes {kwargs}, got {name} ({error})"
        ) from None
    return Backbone(body, frozen_stages, norm_eval)


def _before(body: nn.Module, stage: str | None) -> list[str]:
    """Return the names of the modules in front of `stage`; of all, if that is None.

    Networks of timm define their modules in the order in which they use them.
    """
    # Some of timm's wrappers flatten `stages.0` to `stages_0`, others nest the network.
    ends = (f".{stage}", f".{stage.replace('.', '_')}") if stage else ()
    names = [name for name, _ in body.named_modules()][1:]
    return list(takewhile(lambda name: not f".{name}".endswith(ends), names))
