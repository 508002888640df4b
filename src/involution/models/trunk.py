"""The bottleneck skeleton of ResNet with one hole: the mixer that stands where ResNet has its 3x3 convolution.

ResNet, RedNet and the networks it is compared with differ in that mixer alone. What needs a second hole is another
skeleton and gets its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import DropPath, create_classifier
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

Layer = Callable[..., nn.Module]
Mixer = Callable[[int, int, int], nn.Module]
"""(channels, stride, dilation) → module from [B, C, H, W] to [B, C, ⌈H/stride⌉, ⌈W/stride⌉]."""

DEPTHS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks per stage; Li et al. 2021, section 4.1, after He et al. 2016."""

WIDTHS = (256, 512, 1024, 2048)
EXPANSION = 4
STAGES = ("layer1", "layer2", "layer3", "layer4")


class Bottleneck(nn.Module):
    """1x1 convolution – mixer – 1x1 convolution, each with norm and activation, around a shortcut."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mixer: nn.Module,
        downsample: nn.Module | None,
        drop_path: float,
        norm_layer: Layer,
        act_layer: Layer,
        **factory: Any,
    ) -> None:
        super().__init__()
        mid = out_channels // EXPANSION
        self.conv1 = nn.Conv2d(in_channels, mid, 1, bias=False, **factory)
        self.bn1 = norm_layer(mid, **factory)
        self.act1 = act_layer(inplace=True)
        self.conv2 = mixer
        self.bn2 = norm_layer(mid, **factory)
        self.act2 = act_layer(inplace=True)
        self.conv3 = nn.Conv2d(mid, out_channels, 1, bias=False, **factory)
        self.bn3 = norm_layer(out_channels, **factory)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act3 = act_layer(inplace=True)
        self.downsample = downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        y = self.drop_path(self.bn3(self.conv3(y)))
        y = y + self.downsample(x)
        return self.act3(y)


class Trunk(nn.Module):
    """A stem, four stages of bottlenecks and a linear classifier, with the interface of a timm model.

    Args:
        depths: blocks per stage.
        mixer: makes the layer in the middle of every bottleneck.
        stem: [B, in_chans, H, W] → [B, stem_channels, ...].
        stem_channels: channels that the stem gives.
        stem_stride: reduction of the stem and the max pooling behind it.
        stem_pool: whether a 3x3 max pooling of stride 2 follows the stem.
        num_classes: 0 leaves the classifier out.
        in_chans: channels of the image.
        global_pool: pooling in front of the classifier, a name of timm.
        output_stride: 32, 16 or 8 (times `stem_stride` / 4): later stages dilate their mixers instead of striding.
        drop_rate: dropout in front of the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.
        norm_layer, act_layer: of stem and bottlenecks.
        zero_init_last: start every bottleneck as the identity, its last norm having weight 0.
    """

    def __init__(
        self,
        depths: Sequence[int],
        mixer: Mixer,
        stem: nn.Module,
        stem_channels: int = 64,
        stem_stride: int = 4,
        stem_pool: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: Layer = nn.BatchNorm2d,
        act_layer: Layer = nn.ReLU,
        zero_init_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride: expected 8, 16 or 32, got {output_stride}")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.factory: dict[str, Any] = {"device": device, "dtype": dtype}

        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        self.stem = stem
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        self.feature_info: list[dict[str, Any]] = []
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        channels, net_stride, dilation = stem_channels, stem_stride, 1
        for name, depth, width in zip(STAGES, depths, WIDTHS, strict=True):
            stride, first_dilation = (1 if name == "layer1" else 2), dilation
            if net_stride * stride > output_stride * stem_stride // 4:
                dilation, stride = dilation * stride, 1
            net_stride *= stride
            mid = width // EXPANSION
            mixers = [mixer(mid, stride, first_dilation), *(mixer(mid, 1, dilation) for _ in range(depth - 1))]
            blocks: list[nn.Module] = []
            for layer in mixers:
                shortcut = None if blocks else _projection(channels, width, stride, norm_layer, **self.factory)
                layers: tuple[Any, ...] = (layer, shortcut, next(rates), norm_layer, act_layer)
                blocks.append(Bottleneck(channels, width, *layers, **self.factory))
                channels = width
            self.add_module(name, nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": width, "reduction": net_stride, "module": name})

        self.num_features = channels
        self._set_classifier(num_classes, global_pool)
        self.init_weights(zero_init_last)

    @torch.jit.ignore
    def init_weights(self, zero_init_last: bool = True) -> None:
        """Initialize as the released code does: He fan-out, norms one and zero, classifier normal with std 0.01."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
            elif isinstance(module, Bottleneck) and zero_init_last:
                assert isinstance(module.bn3.weight, Tensor)
                nn.init.zeros_(module.bn3.weight)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Name the parameter groups of stem and blocks for layer-wise decay."""
        return {"stem": r"^stem", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass instead of keeping their activations."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self, name_only: bool = False) -> str | nn.Module:
        """Return the classifier, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one; `global_pool` None keeps the pooling."""
        self._set_classifier(num_classes, self.global_pool.pool_type if global_pool is None else global_pool)
        self.global_pool.train(self.training)
        self.fc.train(self.training)

    def _set_classifier(self, num_classes: int, global_pool: str) -> None:
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, **self.factory
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those of the stages in `indices`; see timm."""
        if output_fmt != "NCHW":
            raise ValueError(f'output_fmt: expected "NCHW", got {output_fmt!r}')
        taken, last = feature_take_indices(len(STAGES), indices)
        intermediates = []
        x = self.maxpool(self.stem(x))
        for index, name in enumerate(STAGES[: last + 1] if stop_early else STAGES):
            stage = getattr(self, name)
            x = checkpoint_seq(stage, x) if self.grad_checkpointing else stage(x)
            if index in taken:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages behind the last one in `indices`, and the classifier; return the absolute indices."""
        taken, last = feature_take_indices(len(STAGES), indices)
        for name in STAGES[last + 1 :]:
            setattr(self, name, nn.Sequential())
        if last + 1 < len(STAGES):
            self.num_features = WIDTHS[last]
            prune_head = True
        if prune_head:
            self.reset_classifier(0, "")
        return list(taken)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the feature map of the last stage, [B, 2048, ...]."""
        x = self.maxpool(self.stem(x))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq([self.layer1, self.layer2, self.layer3, self.layer4], x, flatten=True)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and, unless `pre_logits`, classify."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, p=float(self.drop_rate), training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _projection(in_channels: int, out_channels: int, stride: int, norm_layer: Layer, **factory: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False, **factory),
        norm_layer(out_channels, **factory),
    )
