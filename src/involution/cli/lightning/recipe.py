"""`involution fit | validate | test --config FILE`: Lightning's command line, with our tasks and data."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import torch
from jsonargparse import Namespace
from jsonargparse._typehints import ActionTypeHint
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from involution.cli.errors import UserError
from involution.cli.lightning.arguments import parse, trainer_arguments, trainer_mistakes
from involution.cli.lightning.options import asks_for_help, in_lightnings_spelling, short_help, with_recipe
from involution.cli.lightning.progress import EpochLines, Progress, Throughput
from involution.data import DataModule
from involution.tasks import Task, check_checkpoint, load_weights, read_checkpoint
from involution.tasks.saving import AtomicCheckpointIO

ALIASES = ("best", "last", "hpc")  # checkpoints that Lightning finds itself


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of the commands of Lightning's trainer."""
    if asks_for_help(arguments):
        print(short_help(command), end="")
        return
    quiet()
    arguments = in_lightnings_spelling(with_recipe(arguments))
    strictly: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False}
    with trainer_mistakes():
        _recipe(command)(
            Task,
            DataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            trainer_defaults={"enable_model_summary": False},
            parser_kwargs={"prog": "involution", **strictly, command: dict(strictly)},
            save_config_kwargs={"overwrite": True},  # runs without a logger share a folder
            args=[command, *arguments],
        )


def quiet() -> None:
    """Suppress Lightning's messages about its internals and about intended settings of recipes."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
    for remark in (
        "does not have many workers",
        "is smaller than the logging interval",
        "Checkpoint directory .* exists and is not empty",
        "in eval mode at the start of training",
        "You.re using the WeightAveraging callback",  # checkpoints have the averaged weights
        "Grad strides do not match",  # of 1x1 convolutions in channels-last: other numbers for the same memory
    ):
        warnings.filterwarnings("ignore", message=f".*{remark}")


class Recipe(LightningCLI):
    """One configuration: trainer, task and data. The task and the data have the same classes."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")
        for action in parser._actions:  # `limit_train_batches 1` is one batch, not the share 1.0
            if isinstance(action, ActionTypeHint) and set(get_args(action._typehint)) == {int, float, NoneType}:
                # jsonargparse tries the types in order, and typing may return an equal union in another order.
                action._typehint = int | float | None
        parser.link_arguments("data.classes", "model.init_args.classes", apply_on="instantiate")
        parser.link_arguments(
            "data.eval_transform", "model.init_args.eval_transform", lambda p: dict(vars(p)), apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parse(parser, args)
        seed = self.config[self.config.subcommand].seed_everything
        if isinstance(seed, int) and not 0 <= seed < 2**32:
            raise UserError(f"seed: expected 0 to {2**32 - 1}, got {seed}")

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration unchanged: the task compares itself with the checkpoint and reports differences."""

    def before_instantiate_classes(self) -> None:
        path = self._get(self.config, "ckpt_path")
        if self.subcommand != "fit" and (path is None or path in ALIASES):
            raise UserError(f"checkpoint: expected a checkpoint to evaluate, got {path or 'none'}")
        if path == "best":
            raise UserError("checkpoint: expected a file or last to resume from, got best")
        alone = self.subcommand != "fit"
        self.saved = None if path is None or path in ALIASES else read_checkpoint(path, alone=alone)
        if self.subcommand != "fit":
            self.save_config_callback = None
            self.config[self.subcommand].verbose = not self._get(self.config, "json")

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        path = self._get(self.config, "ckpt_path")
        if self.saved is not None and self.saved.hparams is None:  # weights alone, such as the released ones
            load_weights(self.model, self.saved, path)
            self.config_init[self.subcommand].ckpt_path = None
        elif self.saved is not None:
            check_checkpoint(self.model, self.saved, path, resume=self.subcommand == "fit")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to CSV and TensorBoard and show progress, unless the configuration specifies otherwise."""
        given = self._get(self.config_init, "trainer")
        _check_trainer(given)
        callbacks = list(given.callbacks or [])
        path = self._get(self.config, "ckpt_path")
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint) and path is not None and path not in ALIASES:
                # The folder that the checkpoint comes from, so that a resumed run has its best epoch.
                callback.dirpath = callback.dirpath or str(Path(path).resolve().parent)
        if self.subcommand != "fit":
            kwargs["logger"] = False
        elif given.logger is None and not given.fast_dev_run:
            kwargs["logger"] = loggers(Path(given.default_root_dir or "runs").resolve())
        if self.subcommand == "fit":
            callbacks.append(Throughput())
        if self._get(self.config, "json"):
            kwargs["enable_progress_bar"] = False
        elif given.enable_progress_bar is not False:
            terminal = sys.stdout.isatty()
            callbacks.append(Progress() if terminal else EpochLines())
            kwargs["enable_progress_bar"] = terminal
        plugins = given.plugins or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        with trainer_arguments():
            return super().instantiate_trainer(callbacks=callbacks, **kwargs)

    def before_fit(self) -> None:
        """Start the timer."""
        self.started = time.perf_counter()

    def after_fit(self) -> None:
        """Print the path of the best checkpoint."""
        seconds = time.perf_counter() - self.started
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                path, score = Path(callback.best_model_path), callback.best_model_score.item()
                best = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
                self._print(
                    {str(callback.monitor): score, "checkpoint": best, "seconds": seconds},
                    f"{callback.monitor} {score:.4f}  {best}",
                )

    def after_validate(self) -> None:
        """Print the metrics, unless Lightning prints them in its own table."""
        self._print({name: value.item() for name, value in self.trainer.callback_metrics.items()}, "")

    after_test = after_validate

    def _print(self, figures: dict[str, Any], text: str) -> None:
        text = json.dumps(figures) if self._get(self.config, "json") else text
        if text and self.trainer.is_global_zero:
            print(text)


def _recipe(command: str) -> type[Recipe]:
    """Return the command line of one command: creating the parsers of all takes three times as long."""

    class OneCommand(Recipe):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {command: LightningCLI.subcommands()[command]}

    return OneCommand


def _check_trainer(given: Any) -> None:
    """Reject settings that Lightning accepts but then ignores, or that make it wait forever."""
    if not isinstance(given, Namespace):
        raise UserError(f"trainer: expected arguments by name, got {given!r}")
    if given.max_steps == 0:
        raise UserError("trainer.max_steps: expected a positive number or -1, got 0")
    if given.limit_train_batches == 0:
        raise UserError("trainer.limit_train_batches: expected more than 0, got 0")
    if given.accumulate_grad_batches < 1:
        raise UserError(f"trainer.accumulate_grad_batches: expected at least 1, got {given.accumulate_grad_batches}")
    cores, devices = os.cpu_count() or 1, given.devices
    on_cpu = given.accelerator == "cpu" or (given.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and isinstance(devices, int | str) and str(devices).isdigit() and int(devices) > cores:
        raise UserError(f"trainer.devices: expected at most {cores}, the cores of this machine, got {devices}")


def loggers(root: Path) -> list[CSVLogger | TensorBoardLogger]:
    """Return the loggers of a new run, both writing to the same `root/version_N`."""
    taken = [int(p.name.removeprefix("version_")) for p in root.glob("version_*") if p.name[8:].isdigit()]
    name = f"version_{max(taken, default=-1) + 1}"
    return [CSVLogger(root, name, version=""), TensorBoardLogger(root, name, version="")]
