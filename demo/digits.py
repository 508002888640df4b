"""Train a small RedNet on handwritten digits, draw its kernels, and classify a digit.

`make demo` runs this script. Its output is in runs/demo. The arguments are those of `involution fit`.
"""

import os
import sys
from pathlib import Path

import torch
from PIL import Image

from involution.cli import main
from involution.data import Digits
from involution.tasks import load_task
from involution.visualize import draw_heat_maps, heat_maps

CONFIG = Path(__file__).parents[1] / "configs/digits.yaml"
RUNS = Path("runs/demo")
LAYERS = ("stem.1", "layer1.0.conv2", "layer2.0.conv2")  # maps of 16, 16 and 8 pixels; deeper maps are smaller


def demo(*settings: str) -> int:
    """Return the exit status."""
    if status := main(["fit", "--config", str(CONFIG), "--trainer.default_root_dir", str(RUNS), *settings]):
        return status
    checkpoint = max(RUNS.glob("version_*/checkpoints/best.ckpt"), key=lambda path: path.stat().st_mtime)
    folder = checkpoint.parents[1]

    task = load_task(checkpoint).eval()
    batch = next(iter(Digits(task.hparams["eval_transform"]["crop"], batch_size=360).test_dataloader()))
    images, labels = batch.to_float()
    with torch.no_grad():
        accuracy = (task(images).argmax(1) == labels).float().mean().item()

    shown = images[[labels.tolist().index(digit) for digit in (0, 3, 5, 8)]]
    maps = heat_maps(task, shown)
    draw_heat_maps(shown, {name: maps[f"net.{name}"] for name in LAYERS}).savefig(folder / "kernels.png")
    pixels = (images[0, 0] * 255).byte().numpy()
    Image.fromarray(pixels).resize((128, 128), Image.Resampling.NEAREST).save(folder / "sample.png")

    print(f"\nheld-out accuracy  {accuracy:.1%} of {len(labels)} digits")
    print(f"checkpoint         {checkpoint}")
    print(f"learned kernels    {folder / 'kernels.png'}")
    print(f"a sample           {folder / 'sample.png'}, a {labels[0]}, read as")
    if status := main(["predict", str(folder / "sample.png"), "--checkpoint", str(checkpoint)]):
        return status
    program = os.path.relpath(Path(sys.executable).with_name("involution"))
    print("\ntry next:")
    print(
        f"  {program} explain {folder / 'sample.png'} --checkpoint {checkpoint} --out {folder / 'sample-kernels.png'}"
    )
    print(f"  {program} fit cifar10 --data.root FOLDER      # train on small images, a folder per class")
    print(f"  {program} profile rednet50 --time             # parameters, multiply-adds, time on this machine")
    print(f"  {program} explore                             # the kernels in the browser; needs the extra explore")
    print("  docs/index.md                                            # the guides")
    return 0


if __name__ == "__main__":
    sys.exit(demo(*sys.argv[1:]))
