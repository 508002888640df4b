"""Networks for semantic segmentation: Semantic FPN and UPerNet on any backbone of timm."""

from involution.models.segmentation.segmentors import SEGMENTORS, Segmentor, semantic_fpn, upernet

__all__ = ["SEGMENTORS", "Segmentor", "semantic_fpn", "upernet"]
