"""Metrics of detection and segmentation, based on torchmetrics."""
