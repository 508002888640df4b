"""Tasks: Lightning modules of a network with its loss, metrics and optimization."""

from involution.tasks.checkpoint import check_checkpoint, load_task, load_weights, read_checkpoint
from involution.tasks.classification import Classification
from involution.tasks.detection import Detection
from involution.tasks.schedule import CosinePerEpoch, PolynomialPerIteration, Schedule, Steps
from involution.tasks.segmentation import Segmentation
from involution.tasks.task import Task

__all__ = [
    "Classification",
    "CosinePerEpoch",
    "Detection",
    "PolynomialPerIteration",
    "Schedule",
    "Segmentation",
    "Steps",
    "Task",
    "check_checkpoint",
    "load_task",
    "load_weights",
    "read_checkpoint",
]
