"""Weights and images of sines, with which the values of the authors' codes were made."""

import math

import torch


def fill(model):
    """Fill a state dict with sines."""
    for i, (name, value) in enumerate(model.state_dict().items()):
        if not value.is_floating_point():
            continue
        wave = torch.sin(0.37 * torch.arange(value.numel(), dtype=torch.float64) + 0.11 * i).view(value.shape)
        if value.dim() > 1:
            wave *= math.sqrt(2 * value.shape[0] / value.numel())
        elif name.endswith(("running_var", "weight")):
            wave = 1 + 0.1 * wave
        else:
            wave = 0.1 * wave
        value.copy_(wave)
    return model.eval()


def image(height, width):
    rows = torch.arange(1, height + 1, dtype=torch.float64)[:, None]
    columns = torch.arange(1, width + 1, dtype=torch.float64)
    return torch.stack([torch.sin(0.05 * rows * (c + 1)) * torch.cos(0.03 * columns) for c in range(3)])[None]
