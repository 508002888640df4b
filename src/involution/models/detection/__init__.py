"""Detectors: torchvision's with involutions in backbone, neck and heads."""

from involution.models.detection.config import DetectorConfig
from involution.models.detection.detectors import DETECTORS, faster_rcnn, mask_rcnn, retinanet

__all__ = ["DETECTORS", "DetectorConfig", "faster_rcnn", "mask_rcnn", "retinanet"]
