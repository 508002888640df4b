"""The short help of fit, validate, test and predict, and the spellings of options that Lightning names otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from involution.cli.errors import UserError, did_you_mean
from involution.cli.lightning.recipes import RECIPES

SPELLINGS = {"--checkpoint": "--ckpt_path", "--batch-size": "--data.batch_size", "--seed": "--seed_everything"}
"""Options of every command in our spelling, and in LightningCLI's, which is accepted too."""

PURPOSES = {
    "fit": "Train the network of a recipe. Writes checkpoints and logs to the recipe's folder in runs/.",
    "validate": "Evaluate a checkpoint on the validation images of a recipe.",
    "test": "Evaluate a checkpoint on the test images of a recipe.",
}
_CHECKPOINTS = {"fit": "resume a run from its last.ckpt", "validate": "checkpoint, or weights alone; required"}

_HELP = """usage: involution {command} RECIPE [options]
       involution {command} --config FILE [options]

{purpose}

  RECIPE                  a name that `involution recipes` lists, such as digits
  -c, --config FILE       YAML file with a recipe; may be repeated, later values override earlier ones
  --checkpoint FILE       {checkpoint}
  --data.root FOLDER      folder of the images
  --batch-size N          images per step and process
  --seed N                seed of the random numbers
  --json                  print the figures as JSON and nothing else
  --print_config          print the recipe with all its values and end

Every value of a recipe is an option:

  --model.NAME VALUE      such as --model.network rednet50, --model.optimizer.lr 0.001
  --data.NAME VALUE       such as --data.num_workers 4
  --trainer.NAME VALUE    argument of Lightning's Trainer, such as --trainer.max_epochs 30, --trainer.devices 2,
                          --trainer.precision bf16-mixed, --trainer.callbacks+ EMAWeightAveraging

  --model.help CLASS      arguments of a task: Classification, Detection or Segmentation
  --data.help CLASS       arguments of a data set, such as ImageFolder
  --help-trainer          all options, also those of the trainer
"""


def short_help(command: str) -> str:
    """Return the help that fits a screen."""
    checkpoint = _CHECKPOINTS.get(command, _CHECKPOINTS["validate"])
    return _HELP.format(command=command, purpose=PURPOSES[command], checkpoint=checkpoint)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether the short help is asked for."""
    return any(argument in ("-h", "--help") for argument in arguments)


def in_lightnings_spelling(arguments: Sequence[str], spellings: Mapping[str, str] = SPELLINGS) -> list[str]:
    """Return arguments as LightningCLI spells them.

    >>> in_lightnings_spelling(["--checkpoint=a.ckpt", "--help-trainer"])
    ['--ckpt_path=a.ckpt', '--help']
    """
    known = {**spellings, "--help-trainer": "--help"}
    split = [argument.partition("=") for argument in arguments]
    return [known.get(option, option) + equals + value for option, equals, value in split]


def with_recipe(arguments: Sequence[str]) -> list[str]:
    """Return arguments with `--config` before the recipe that the first one may name.

    Raises:
        UserError: there is no such recipe.

    >>> with_recipe(["digits", "--json"])
    ['--config', 'digits', '--json']
    """
    if not arguments or arguments[0].startswith("-"):
        return list(arguments)
    name = arguments[0]
    if name not in RECIPES and not name.endswith((".yaml", ".yml")):
        hint = did_you_mean(name, RECIPES)
        raise UserError(f"recipe: expected one of {', '.join(RECIPES)}, or --config FILE, got {name!r}{hint}")
    return ["--config", *arguments]
