"""Classifiers as backbones: the feature maps of their four stages, with the first stages frozen on request."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import timm
from timm.layers.format import Format, nhwc_to
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from involution.models import rednet
from involution.models.skeleton.options import check_options
from involution.models.skeleton.registration import entrypoint
from involution.models.skeleton.weights import DEFAULT, LATER, load_weights

STAGES = 4


class Backbone(nn.Module):
    """A network of timm's registry that returns the feature maps of its stages.

    Args:
        name: of a network with four stages.
        out_indices: stages from 0 to 3, of strides 4, 8, 16 and 32.
        frozen_stages: −1 freezes nothing; 0 freezes the layers before the first stage; n also the first n stages.
            Frozen parameters get no gradient, and frozen norms keep their statistics.
        norm_eval: all batch norms use and keep their running statistics in training too. Their weights and biases are
            trained unless they are frozen.
        options: arguments of the network. The stem involution of RedNets is 7x7, as in the released detectors and
            segmentors, unless `stem_kernel_size` is given.

    Shape:
        [B, 3, H, W] → list of [B, channels(i), ⌈H / reductions(i)⌉, ⌈W / reductions(i)⌉].

    Raises:
        ValueError: there is no such network or stage, or the network does not take `options`.
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if not out_indices or any(index not in range(STAGES) for index in out_indices):
            raise ValueError(f"out_indices: expected stages from 0 to {STAGES - 1}, got {tuple(out_indices)}")
        if not -1 <= frozen_stages <= STAGES:
            raise ValueError(f"frozen_stages: expected -1 to {STAGES}, got {frozen_stages}")
        check_options(options, "backbone")
        if entrypoint(name, "backbone").__module__ == rednet.__name__:
            options.setdefault("stem_kernel_size", 7)
        # Indices from the end: some networks of timm return the map of their stem first.
        self.name = name
        self.options = {**options, "features_only": True, "out_indices": tuple(index - STAGES for index in out_indices)}
        try:
            self.body = timm.create_model(name, **self.options)
        except (TypeError, AttributeError, AssertionError, IndexError) as error:
            raise ValueError(
                f"backbone: expected a network with four stages that takes {options}, got {name} ({error})"
            ) from None
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.reductions: list[int] = info.reduction()
        self.pretrained_cfg = getattr(self.body, "pretrained_cfg", None)
        self.last_channels = getattr(self.body, "output_fmt", Format.NCHW) == Format.NHWC
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.frozen: list[str] = []
        if frozen_stages >= 0:
            trained = [stage["module"] for stage in info.info[-STAGES:]][frozen_stages:]
            self.frozen = _before(self.body, trained[0] if trained else None)
        for frozen in self.frozen:
            for parameter in self.body.get_submodule(frozen).parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train()  # Lightning keeps the current mode of a module

    def initialize(self, weights: str | Path | None) -> None:
        """Load `weights`: a file, `DEFAULT` for those of timm's registry, None for random ones, `LATER` for no change.

        Raises:
            ValueError: the weights do not match, or there are none although stages or norms are frozen.
        """
        if weights is None:
            self.check_trained()
        elif weights != LATER:
            load_weights(self.body, self.name, weights, **self.options)

    def check_trained(self) -> None:
        """Raise `ValueError` if stages or norms are frozen, which random weights must not be."""
        if self.frozen_stages >= 0 or self.norm_eval:
            raise ValueError(
                f"weights: expected a file or {DEFAULT} for a backbone with frozen_stages={self.frozen_stages} and "
                f"norm_eval={str(self.norm_eval).lower()}, got none; to train from scratch pass frozen_stages=-1 and "
                "norm_eval=false"
            )

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode of all modules that are not frozen."""
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


def create_backbone(name: str, weights: str | Path | None = None, **kwargs: Any) -> Backbone:
    """Create a backbone with weights.

    Args:
        name: of a network in timm's registry that has four stages.
        weights: see `Backbone.initialize`.
        kwargs: of `Backbone`.

    >>> import torch
    >>> [tuple(y.shape) for y in create_backbone("rednet26")(torch.rand(1, 3, 64, 96))]
    [(1, 256, 16, 24), (1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]
    """
    backbone = Backbone(name, **kwargs)
    backbone.initialize(weights)
    return backbone


def _before(body: nn.Module, stage: str | None) -> list[str]:
    """Return the names of the modules before `stage`, or of all modules if that is None.

    Networks of timm define their modules in the order of their use.
    """
    # Some of timm's wrappers flatten `stages.0` to `stages_0`, others nest the network.
    ends = (f".{stage}", f".{stage.replace('.', '_')}") if stage else ()
    names = [name for name, _ in body.named_modules()][1:]
    return list(takewhile(lambda name: not f".{name}".endswith(ends), names))
