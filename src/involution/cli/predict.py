"""`involution predict IMAGE ... --ckpt_path FILE`: name what is in images.

The checkpoint holds all that is needed: network, weights, classes and preprocessing. A configuration may add how to
compute (its `trainer`) and, where no image is named, what (the test images of its `data`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ActionConfigFile
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch.utils.data import DataLoader

from involution.cli.recipe import Progress, quiet
from involution.data import ImageFiles, Labelled, Preprocessing
from involution.tasks import load_task


def run(command: str, arguments: Sequence[str]) -> None:
    """Print the most probable classes of every image, best first."""
    quiet()
    parser = _parser()
    given = parser.parse_args(list(arguments))
    task = load_task(given.ckpt_path)
    if given.model is not None:
        task.check_same(given.model.get("init_args", {}), "model", "the checkpoint")
    images: Any
    if given.images:
        preprocessing = Preprocessing(**task.hparams["preprocessing"])
        images = DataLoader(ImageFiles(given.images, preprocessing), batch_size=given.batch_size)
    elif given.data is not None:
        images = parser.instantiate_classes(given).data.predict_dataloader()
    else:
        raise ValueError("images: expected files, folders, or a configuration with data, got none of them")
    batches = _trainer(given).predict(task, images) or []
    predictions = [prediction for batch in batches for prediction in batch]
    print(json.dumps(predictions, indent=1) if given.json else _table(predictions))


def _parser() -> LightningArgumentParser:
    parser = LightningArgumentParser(prog="involution predict", description=__doc__, exit_on_error=False)
    parser.add_argument("images", nargs="*", type=str, help="image files, and folders with images")
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint of `involution fit`")
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="a configuration, for its trainer and data")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--batch_size", type=int, default=32, help="named images that are computed at once")
    parser.add_argument("--seed_everything", type=Any, help="may stand in a configuration; nothing is drawn here")
    parser.add_argument("--model", type=dict[str, Any], help="may stand in a configuration; that of the checkpoint")
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(Labelled, "data", subclass_mode=True, required=False)
    return parser


def _trainer(given: Any) -> Trainer:
    """Return the trainer of the configuration, without what belongs to training."""
    progress = sys.stdout.isatty() and not given.json
    arguments = {
        **given.trainer,
        "logger": False,
        "callbacks": [Progress()] if progress else [],
        "enable_progress_bar": progress,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    return Trainer(**arguments)


def _table(predictions: Sequence[dict[str, Any]]) -> str:
    width = max((len(p["image"]) for p in predictions), default=0)
    rows = []
    for prediction in predictions:
        named = "  ".join(f"{c['name']} {c['probability']:.1%}" for c in prediction["classes"][:3])
        rows.append(f"{prediction['image']:{width}}  {named}")
    return "\n".join(rows)
