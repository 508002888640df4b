"""Fused operators: a bottleneck or the stem for inference; a batch norm with shortcut and ReLU for training."""
