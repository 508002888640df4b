"""A script for torchrun: train and validate, and compare DDP with FSDP2; the first process writes the results.

python -m torch.distributed.run --standalone --nproc-per-node=2 same_results.py FOLDER
"""

import os
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from involution.cli.lightning.recipe import quiet
from involution.data import Synthetic
from involution.tasks import Classification, CosinePerEpoch

SHARDED = ("classification", "mask_rcnn", "retinanet", "upernet")
IMAGES, PER_STEP, UNEVEN = 32, 16, 7


def learner():
    """A task whose network has no batch norm, which would depend on the images of each process."""
    torch.manual_seed(0)
    return Classification(
        "test_convnext",
        [str(number) for number in range(6)],
        {"resize": 32, "crop": 32, "channels": 3},
        label_smoothing=0.1,
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        schedule=CosinePerEpoch(0, 1.0),
        lr_batch_size=2 * PER_STEP,
    )


def trainer(processes, strategy="auto"):
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quietly = dict.fromkeys(names, False) | {"use_distributed_sampler": False}
    return Trainer(accelerator="cpu", devices=processes, strategy=strategy, max_epochs=2, **quietly)


def train(processes):
    """Return the weights after four steps, and the metrics of an uneven number of images."""
    os.environ["PL_GLOBAL_SEED"] = "5"
    task, run = learner(), trainer(processes, "ddp" if processes > 1 else "auto")
    run.fit(task, Synthetic(32, 6, batch_size=PER_STEP // processes, images=IMAGES))
    weights = {name: value.clone() for name, value in task.net.state_dict().items()}
    [figures] = run.validate(task, Synthetic(32, 6, batch_size=2, images=UNEVEN), verbose=False)
    return weights, figures


def shard(kind, folder):
    """Return the largest difference between the weights of DDP and FSDP2, and the share of the latter's parameters."""
    from two_processes import Images, task

    states = []
    for strategy in ("ddp", "fsdp2"):
        sharded, run = task(kind), trainer(2, strategy)
        run.fit(sharded, Images(kind))
        run.save_checkpoint(folder / f"{kind}_{strategy}.ckpt")
        run.strategy.barrier()
        states.append(torch.load(folder / f"{kind}_{strategy}.ckpt", weights_only=True)["state_dict"])
        local = sum((p.to_local() if strategy == "fsdp2" else p).numel() for p in sharded.parameters())
        size = sum(p.numel() for p in sharded.parameters())
    difference = max((states[0][name] - states[1][name]).abs().max().item() for name in states[0])
    return {"difference": difference, "share": local / size, "same names": states[0].keys() == states[1].keys()}


def main(folder):
    warnings.simplefilter("ignore")
    quiet()
    torch.set_num_threads(1)
    weights, figures = train(2)
    found = {"weights": weights, "figures": figures}
    found |= {kind: shard(kind, folder) for kind in SHARDED}
    if os.environ["RANK"] == "0":
        torch.save(found, folder / "results.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # threads of gloo must not outlive the process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
