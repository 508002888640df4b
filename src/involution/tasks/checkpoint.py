"""Reading what a run has saved: weights, and all that is needed to use them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from involution.tasks.task import Task


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint of one of our tasks, its tensors mapped from the file; no code in it is run.

    Raises:
        ValueError: there is no such file, or it is not such a checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"ckpt_path: expected a file, got {path}, which does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        raise ValueError(f"ckpt_path: expected a checkpoint, got {path}, which cannot be read as one") from None
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
        raise ValueError(f"ckpt_path: expected a checkpoint of `involution fit`, got {path}, which is another file")
    return checkpoint


def load_task(path: str | Path) -> Task:
    """Return the task that a checkpoint was saved from, with its network, weights, classes and preprocessing.

    Raises:
        ValueError: there is no such file, or it is not such a checkpoint.
    """
    class_path = str(read_checkpoint(path)["hyper_parameters"].get("_class_path"))
    tasks = {task.__name__: task for task in Task.__subclasses__()}
    task = tasks.get(class_path.rpartition(".")[2])
    if task is None:
        raise ValueError(f"ckpt_path: expected a checkpoint of one of {sorted(tasks)}, got one of {class_path}")
    return task.load_from_checkpoint(path, map_location="cpu", weights_only=True)
