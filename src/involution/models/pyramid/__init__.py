"""Backbones and feature pyramids, shared by detectors and segmentors."""
