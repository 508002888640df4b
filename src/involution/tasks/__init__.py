"""What a network learns to do: Lightning modules of network, loss, metrics and recipe."""

from involution.tasks.checkpoint import load_task, read_checkpoint
from involution.tasks.classification import Classification
from involution.tasks.schedule import CosinePerEpoch, Schedule
from involution.tasks.task import Task

__all__ = ["Classification", "CosinePerEpoch", "Schedule", "Task", "load_task", "read_checkpoint"]
