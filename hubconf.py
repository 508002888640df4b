"""Networks for `torch.hub.load(REPOSITORY, "rednet50")`. The package has to be installed."""

from __future__ import annotations

from functools import partial as _partial
from typing import Any as _Any

import timm
from torch import nn as _nn

import involution.models  # noqa: F401  (registers the networks)

dependencies = ["involution", "timm"]


def _create(name: str, weights: str | None = None, **arguments: _Any) -> _nn.Module:
    """Return a RedNet.

    Args:
        name: of the network in timm's registry.
        weights: a file of weights, ours or the official ones; random weights by default.
        arguments: of the network, such as `num_classes`.
    """
    source = {} if weights is None else {"pretrained_cfg_overlay": {"file": weights}}
    return timm.create_model(name, pretrained=weights is not None, **source, **arguments)


rednet26 = _partial(_create, "rednet26")
rednet38 = _partial(_create, "rednet38")
rednet50 = _partial(_create, "rednet50")
rednet101 = _partial(_create, "rednet101")
rednet152 = _partial(_create, "rednet152")
