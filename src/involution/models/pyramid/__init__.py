"""From a classifier of timm to a feature pyramid: what detectors and segmentors share."""
