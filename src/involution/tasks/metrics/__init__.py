"""Metrics that torchmetrics does not have in this form."""
