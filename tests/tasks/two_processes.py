"""A script for torchrun with two processes: one training step of every task, without objects in the second process."""

import sys
import warnings
from functools import partial

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler

from involution.cli.lightning.recipe import quiet
from involution.data import IGNORE_INDEX, ClassificationBatch, DetectionBatch, SegmentationBatch
from involution.tasks import Classification, CosinePerEpoch, Detection, Segmentation

SETTINGS = {"min_size": 64, "max_size": 64, "box_detections_per_img": 5}
SMALL = {"semantic_fpn": {"channels": 32, "head_channels": 16}, "upernet": {"channels": 32, "auxiliary_channels": 16}}


class Images(LightningDataModule):
    """Four images, two for each process; those of the second have no object and no labeled pixel."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.batch_size = kind, 2

    def example(self, index):
        empty = index % 2 == 1  # of the second process
        image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(index))
        if self.kind == "classification":
            return ClassificationBatch(image, index % 3)
        if self.kind in SMALL:
            return SegmentationBatch(image, torch.full((64, 64), IGNORE_INDEX if empty else 1))
        objects = 0 if empty else 1
        boxes = torch.tensor([[8.0, 8.0, 50.0, 40.0]])[:objects]
        masks = torch.ones(objects, 64, 64, dtype=torch.uint8)
        return DetectionBatch(image, {"boxes": boxes, "labels": torch.ones(objects, dtype=torch.int64), "masks": masks})

    def train_dataloader(self):
        examples = [self.example(index) for index in range(4)]
        order = DistributedSampler(examples, shuffle=False)
        return DataLoader(examples, batch_size=2, sampler=order, collate_fn=type(examples[0]).collate)


def task(kind):
    torch.manual_seed(0)
    given = {"optimizer": partial(torch.optim.SGD, lr=1e-3), "schedule": CosinePerEpoch(0, 1.0)}
    if kind == "classification":
        size = {"resize": 64, "crop": 64, "channels": 3}
        return Classification("test_resnet", list("abc"), size, label_smoothing=0.0, **given)
    if kind in SMALL:
        values = {"values": [0, 1, 2], "ignored": [9], "colors": [[0, 0, 0]] * 3}
        return Segmentation(kind, "test_resnet", list("abc"), values, 0.4, options=SMALL[kind], **given)
    head = {} if kind == "retinanet" else {"head": "involution"}
    options = {"neck": "involution", "channels": 16, "settings": SETTINGS if head else {"min_size": 64}, **head}
    return Detection(kind, "test_resnet", ["a"], {"channels": 3}, options=options, **given)


def main(kinds, dying):
    warnings.simplefilter("ignore")
    quiet()
    torch.set_num_threads(1)
    for kind in kinds:
        learner = task(kind)
        run = Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        if run.global_rank == dying:
            learner.on_before_backward = lambda loss: 1 / 0
        run.fit(learner, Images(kind))
        mine = torch.cat([p.detach().flatten() for p in learner.parameters()])
        theirs = mine.clone()
        distributed.broadcast(theirs, 0)
        assert torch.equal(mine, theirs), kind  # all processes have taken the same step
        assert mine.isfinite().all(), kind
        if run.is_global_zero:
            print("step of", kind, flush=True)
    distributed.barrier()
    distributed.destroy_process_group()  # threads of gloo must not outlive the process


if __name__ == "__main__":
    main(sys.argv[2:], int(sys.argv[1]))
