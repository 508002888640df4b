"""`involution predict IMAGE ... [--checkpoint FILE]`: predict classes, objects or masks of images.

The checkpoint has everything that is needed: network, weights, classes and preprocessing. A recipe may set how to
compute (its `trainer`) and, if no image is named, what to predict (the test images of its `data`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningArgumentParser

from involution.cli.errors import UserError, printable
from involution.cli.lightning.arguments import create_trainer, parse
from involution.cli.lightning.options import asks_for_help, in_lightnings_spelling
from involution.cli.lightning.progress import Progress
from involution.cli.lightning.recipe import quiet
from involution.data import DataModule, PredictionDataModule
from involution.tasks import Task, load_task
from involution.weights import DEFAULT

HELP = """usage: involution predict IMAGE ... [options]

Predict classes, objects or masks of images.

  IMAGE                   image files, and folders with images
  --checkpoint FILE       of `involution fit`, or the name of weights of the package (default: {default})
  --out FOLDER            write a picture of what was found in every image, and predictions.json
  --batch-size N          images that are computed at once (default: 32)
  --json                  print JSON and nothing else
  -c, --config FILE       a recipe: predict its test images if no image is named, with the settings of its trainer
  --data.NAME VALUE       of the recipe's data, such as --data.root FOLDER
  --trainer.NAME VALUE    of Lightning's Trainer, such as --trainer.precision bf16-mixed
  --help-trainer          all options, also those of the trainer
"""


def run(command: str, arguments: Sequence[str]) -> None:
    """Predict every image with the task of the checkpoint."""
    if asks_for_help(arguments):
        print(HELP.format(default=DEFAULT), end="")
        return
    quiet()
    parser = _parser()
    arguments = in_lightnings_spelling(arguments, {})
    given = parse(parser, arguments)
    task = load_task(given.checkpoint)
    if given.model is not None:
        task.check_same(given.model.get("init_args", {}), "model", "the checkpoint")
    data: DataModule
    if given.images:
        data = PredictionDataModule(given.images, task.eval_transform, given.batch_size)
    elif given.data is not None:
        data = parser.instantiate_classes(given).data
    else:
        raise UserError("images: expected files, folders, or a configuration with data, got none of them")
    kept = Summaries(task, given.out)
    _trainer(given, kept).predict(task, datamodule=data, return_predictions=False)
    summaries = data.results(kept.summaries)
    if given.out:
        (given.out / "predictions.json").write_text(json.dumps(summaries, indent=1) + "\n")
    print(json.dumps(summaries, indent=1) if given.json else _table(task, kept.summaries))


class Summaries(BasePredictionWriter):
    """Collect the predictions and write their pictures to a folder, batch by batch."""

    def __init__(self, task: Task, folder: Path | None) -> None:
        super().__init__("batch")
        self.task, self.folder = task, folder
        self.summaries: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def write_on_batch_end(self, trainer: Any, task: Any, predictions: Any, indices: Any, batch: Any, *_: Any) -> None:
        for image, prediction in zip(batch.images, predictions, strict=True):
            self.summaries.append(self.task.summary(prediction))
            if self.folder and type(self.task).write is not Task.write:
                self._check(prediction["image"])
                self.task.write(image, prediction, self.folder)

    def _check(self, path: str) -> None:
        """A picture has the name of its image; pictures must not overwrite each other."""
        first = self.names.setdefault(Path(path).stem, path)
        if first != path:
            raise ValueError(f"out: expected images of different names for one folder, got {first} and {path}")


def _parser() -> LightningArgumentParser:
    parser = LightningArgumentParser(
        prog="involution predict", description=__doc__, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("images", nargs="*", type=str, help="image files, and folders with images")
    parser.add_argument("--checkpoint", "--ckpt_path", type=str, default=DEFAULT, help="of `involution fit`")
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="a configuration, for its trainer and data")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--out", type=Path, help="folder for pictures of what was found, and predictions.json")
    parser.add_argument("--batch-size", "--batch_size", type=int, default=32, help="images computed at once")
    parser.add_argument("--seed_everything", type=Any, help="may stand in a configuration; nothing is drawn here")
    parser.add_argument("--model", type=dict[str, Any], help="may stand in a configuration; that of the checkpoint")
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(DataModule, "data", subclass_mode=True, required=False)
    return parser


def _trainer(given: Any, kept: Summaries) -> Trainer:
    """Return the trainer of the configuration, in one process and without the settings for training."""
    progress = sys.stdout.isatty() and not given.json
    arguments = {
        **given.trainer,
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
        "logger": False,
        "callbacks": [kept, *([Progress()] if progress else [])],
        "enable_progress_bar": progress,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    return create_trainer(**arguments)


def _table(task: Task, summaries: Sequence[dict[str, Any]]) -> str:
    images = [printable(s["image"]) for s in summaries]
    width = max(map(len, images), default=0)
    lines = [printable(task.line(s)) for s in summaries]
    return "\n".join(f"{image:{width}}  {line}" for image, line in zip(images, lines, strict=True))
