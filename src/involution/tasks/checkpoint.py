"""Load tasks from checkpoints.

A checkpoint contains the name and the arguments of its network. These values are not trusted: only networks of timm's
registry and plain arguments are accepted. Arguments that would make timm read another file or download weights are
ignored. The number and the shapes of the weights are checked before the network is created.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import nn

from involution.models.detection import DETECTORS
from involution.models.segmentation import SEGMENTORS
from involution.models.skeleton.options import SOURCES
from involution.models.skeleton.weights import LATER
from involution.tasks.classification import Classification, create_network
from involution.tasks.detection import Detection
from involution.tasks.segmentation import Segmentation
from involution.tasks.task import Task
from involution.weights import Saved, read_weights, require_fit, to_ours

LEARNING = ("optimizer", "schedule", "label_smoothing", "mixup_alpha", "cutmix_alpha", "auxiliary_weight", "compile")
"""Arguments of tasks that prediction does not need."""

RESUMED: dict[str, type] = {
    "pytorch-lightning_version": str,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""Parts of a checkpoint that a run needs to resume, and their types; what they contain are mappings."""

LIMITS = {"resize": 2048, "crop": 2048, "min_size": 4096, "max_size": 8192, "fixed_size": 8192, "scale": 4}
"""Upper limits of the arguments that determine the size of images, in pixels or as a factor."""


def read_checkpoint(path: str | Path, argument: str = "checkpoint", alone: bool = False) -> Saved:
    """Return the contents of a checkpoint of `involution fit`, with memory-mapped tensors.

    Args:
        path: the file.
        argument: that errors are about.
        alone: also accept weights alone; their `hparams` are None.

    Raises:
        ValueError: there is no such file, or it is not such a checkpoint.
    """
    saved = read_weights(path, argument)
    if not isinstance(saved.hparams, Mapping) and not (alone and saved.hparams is None):
        found = "weights alone" if saved.hparams is None else f"hyper_parameters of type {type(saved.hparams).__name__}"
        raise ValueError(f"{argument}: expected a checkpoint of `involution fit`, got {path} with {found}")
    return saved


def load_task(path: str | Path, argument: str = "checkpoint") -> Task:
    """Return the task of a checkpoint, with its network, weights, classes and eval_transform.

    The task has no optimizer and no schedule, so it cannot be trained further.

    Raises:
        ValueError: there is no such file, or it is not such a checkpoint.
    """
    saved = read_checkpoint(path, argument)
    kind = task_class(saved.hparams)
    arguments = _arguments(kind, saved.hparams, f"{argument}: expected a checkpoint of `involution fit`, got {path}")
    weights = {name.removeprefix("net."): value for name, value in saved.weights.items()}
    with _told(kind, arguments, path, argument), torch.device("meta"):
        expected = _network(**arguments)
    require_fit(expected, weights, path, argument)
    with _told(kind, arguments, path, argument):
        task = kind(**arguments)
    task.net.load_state_dict(weights)
    return task


def check_checkpoint(
    task: Task, saved: Saved, path: str | Path, argument: str = "checkpoint", resume: bool = False
) -> None:
    """Raise an error unless a checkpoint has the same task and the same network, and if needed the state of a run.

    Raises:
        ValueError: the task or the network differs, the message names the first difference; or the state is missing.
    """
    for name, kind in RESUMED.items() if resume else ():
        state = (saved.state or {}).get(name)
        parts = list(state.values() if isinstance(state, Mapping) else state if isinstance(state, list) else ())
        whole = isinstance(state, kind) and all(isinstance(part, Mapping) for part in parts)
        if not whole or (name == "loops" and "fit_loop" not in (state or ())):
            raise ValueError(f"{argument}: expected the state of a run to resume, got {path} without {name}")
    known = task_class(saved.hparams)
    if not isinstance(task, known):
        raise ValueError(f"{argument}: expected a checkpoint of {type(task).__name__}, got {path} of {known.__name__}")
    task.check_same(saved.hparams, argument, "the configuration")
    require_fit(task.net, {name.removeprefix("net."): value for name, value in saved.weights.items()}, path, argument)


def load_weights(task: Task, saved: Saved, path: str | Path, argument: str = "checkpoint") -> None:
    """Load all weights of a task's network from a file without hyperparameters, of any release.

    Raises:
        ValueError: the weights are not those of the network.
    """
    weights = to_ours(saved.weights).weights
    require_fit(task.net, weights, path, argument)
    task.net.load_state_dict(weights)
    task.initialized = True


def task_class(hparams: Mapping[str, Any]) -> type[Task]:
    """Return the task with these hyperparameters."""
    return Detection if "detector" in hparams else Segmentation if "segmentor" in hparams else Classification


def _network(network: str, classes: Sequence[str], eval_transform: Any, options: Any, **kwargs: Any) -> nn.Module:
    """Return the network of a task with these arguments."""
    if builder := DETECTORS.get(kwargs.get("detector", "")):
        return builder(network, num_classes=len(classes) + 1, weights=LATER, **options or {})
    if builder := SEGMENTORS.get(kwargs.get("segmentor", "")):
        return builder(network, num_classes=len(classes), weights=LATER, **options or {})
    return create_network(network, len(classes), eval_transform["channels"], options or {})


@contextmanager
def _told(kind: type[Task], arguments: Mapping[str, Any], path: str | Path, argument: str) -> Iterator[None]:
    """Name the file in the errors of builders, which raise almost any exception for arbitrary values."""
    try:
        yield
    except Exception as error:
        hparams = {name: value for name, value in arguments.items() if name not in (*LEARNING, "classes")}
        raise ValueError(
            f"{argument}: expected arguments of {kind.__name__} in {path}, got {hparams} ({error})"
        ) from None


def _arguments(kind: type[Task], hparams: Mapping[str, Any], mistake: str) -> dict[str, Any]:
    """Return the arguments of a task for prediction; errors begin with `mistake`."""
    known = signature(kind).parameters
    given = {name: hparams[name] for name in known if name in hparams and name not in LEARNING}
    if missing := [name for name in known if name in ("network", "classes", "eval_transform") and name not in given]:
        raise ValueError(f"{mistake} without {missing[0]}")
    if not isinstance(given["classes"], list) or not all(isinstance(name, str) for name in given["classes"]):
        raise ValueError(f"{mistake} with classes that are no list of names")
    for name in ("eval_transform", "options"):
        given[name] = dict(given.get(name) or {}) if isinstance(given.get(name), Mapping | None) else given[name]
        if not isinstance(given[name], dict) or not _plain(given[name]):
            raise ValueError(f"{mistake} with {name} that are not names and plain values")
        _limit({**given[name], **_settings(given[name])}, name, mistake)
    given["options"] = {key: value for key, value in given["options"].items() if key not in SOURCES} or None
    return {**given, **{name: _UNTRAINED[name] for name in known if name in _UNTRAINED}}


_UNTRAINED: dict[str, Any] = {
    "optimizer": torch.optim.SGD,
    "schedule": None,
    "label_smoothing": 0.0,
    "auxiliary_weight": 0.0,
}


def _settings(options: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = options.get("settings")
    return settings if isinstance(settings, Mapping) else {}


def _limit(values: Mapping[str, Any], name: str, mistake: str) -> None:
    for key, limit in LIMITS.items():
        value = values.get(key)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not number <= limit:
                raise ValueError(f"{mistake} with {name} of {key} {number}, more than {limit}")
            if isinstance(number, bool) or (isinstance(number, float) and key != "scale"):
                raise ValueError(f"{mistake} with {name} of {key} {number}, which is no whole number")


def _plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
