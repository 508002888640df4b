import json
import os
from pathlib import Path

import pytest
import torch
from coco_files import draw_coco
from PIL import Image

from involution.data import COCO, PredictionBatch
from involution.data.detection.run_lengths import encode_mask
from involution.data.detection.train_transform import DetectionTrainTransform
from involution.data.sampler import GroupedSampler


@pytest.fixture
def root(tmp_path):
    """Two splits, each with an image of 16 x 16 pixels with the objects of the test, and an image without objects."""
    for split in ("train2017", "val2017"):
        (tmp_path / split).mkdir()
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (16, 16)).save(tmp_path / split / name)
    (tmp_path / "annotations").mkdir()
    return tmp_path


def write(root, **changes):
    """Write both annotation files with one modified valid object; return the data module."""
    annotation = {"id": 7, "image_id": 30, "category_id": 5, "bbox": [2, 3, 6, 8], "area": 48, "iscrowd": 0}
    annotation |= {"segmentation": [[2, 3, 8, 3, 8, 11, 2, 11]]} | changes
    images = [{"id": n, "file_name": f, "height": 16, "width": 16} for n, f in ((30, "a.jpg"), (4, "b.jpg"))]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 5, "name": "kite"}]}
    for split in ("train2017", "val2017"):
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return COCO(str(root), batch_size=2, masks=True, num_workers=0)


def test_objects_are_as_in_the_file(root):
    data = write(root)
    assert data.classes == ["kite"]
    [batch] = data.val_dataloader()
    empty, target = batch.targets  # by the ids of the images
    assert target["boxes"].tolist() == [[2, 3, 8, 11]]
    assert target["labels"].tolist() == [1]
    assert target["area"].tolist() == [48]
    mask = torch.zeros(16, 16, dtype=torch.uint8)
    mask[3:11, 2:8] = 1
    assert torch.equal(target["masks"], mask[None])
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 16, 16)


def test_run_lengths(root):
    mask = torch.zeros(256, dtype=torch.uint8)
    mask[35:43] = mask[51:59] = 1
    mask = mask.reshape(16, 16).t()  # COCO counts along columns
    for segmentation in ({"size": [16, 16], "counts": [35, 8, 8, 8, 197]}, encode_mask(mask)):
        assert torch.equal(write(root, segmentation=segmentation).val.target(1, 16, 16)["masks"], mask[None])


def test_augmented_objects_stay_on_their_pixels(tmp_path):
    draw_coco(tmp_path, "train2017")
    draw_coco(tmp_path, "val2017", images=2)
    for augmentation in ("hflip", "ssd"):
        data = COCO(str(tmp_path), batch_size=4, masks=True, augmentation=augmentation, num_workers=0)
        train = data.train_dataset()
        seen = 0
        for index in range(len(train)):
            image, target = train[index]
            assert not target["iscrowd"].any()
            assert len({len(values) for values in target.values()}) == 1
            for box, mask in zip(target["boxes"], target["masks"], strict=True):
                y, x = mask.nonzero(as_tuple=True)
                if len(x):
                    around = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
                    assert (around[:2] >= box[:2] - 1).all()
                    assert (around[2:] <= box[2:] + 1).all()
                    seen += 1
            assert image.shape[1:] == target["masks"].shape[1:]
            assert image.dtype == torch.uint8
        assert seen > 30


def test_half_of_the_images_are_flipped():
    image = torch.arange(8, dtype=torch.uint8).expand(3, 8, -1)
    target = {"boxes": torch.tensor([[1.0, 2.0, 4.0, 5.0]]), "labels": torch.tensor([1])}
    boxes = [DetectionTrainTransform("hflip")(image, target)[1]["boxes"].tolist() for _ in range(100)]
    assert boxes.count([[1.0, 2.0, 4.0, 5.0]]) + boxes.count([[4.0, 2.0, 7.0, 5.0]]) == 100
    assert 30 < boxes.count([[4.0, 2.0, 7.0, 5.0]]) < 70


def test_results_have_the_ids_of_the_file(root):
    data = write(root)
    [query] = data.predict_dataloader()
    assert isinstance(query, PredictionBatch)
    found = {
        "name": "kite",
        "label": 1,
        "score": 0.5,
        "box": [1, 2, 3, 4],
        "mask": {"size": [16, 16], "counts": "S18h0"},
    }
    results = data.results([{"image": name, "objects": [found]} for name in query.names])
    assert [r["image_id"] for r in results] == [4, 30]
    assert results[0] == {
        "image_id": 4, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.5, "segmentation": found["mask"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("box", "left"),
    [([-4, 3, 6, 8], [[0, 3, 2, 11]]), ([12, 3, 30, 8], [[12, 3, 16, 11]]), ([20, 3, 5, 5], []), ([4, 4, 0, 5], [])],
)
def test_boxes_that_no_detector_can_give_are_counted(root, box, left):
    data = write(root, bbox=box)
    with pytest.warns(UserWarning, match=r"1 boxes of .*instances_val2017.json .* annotation 7 of a.jpg; training"):
        val = data.val
    assert val.target(1, 16, 16)["boxes"].tolist() == [[box[0], box[1], box[0] + box[2], box[1] + box[3]]]
    with pytest.warns(UserWarning, match=r"1 boxes of .*instances_train2017.json"):
        train = data.train_dataset()
    boxes = train[1][1]["boxes"]
    mirrored = torch.stack([16 - boxes[:, 2], boxes[:, 1], 16 - boxes[:, 0], boxes[:, 3]], 1)
    assert left in (boxes.tolist(), mirrored.tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"category_id": 6},
            "category_id: expected one that .*instances_val2017.json lists, got 6 in annotation 7 of image 30",
        ),
        (
            {"image_id": 31},
            "image_id: expected one that .*instances_val2017.json lists, got 31 in annotation 7 of image 31",
        ),
    ],
)
def test_annotations_that_refer_to_nothing(root, changes, message):
    with pytest.raises(ValueError, match=message):
        _ = write(root, **changes).classes


def test_segmentations_of_no_kind(root):
    with pytest.raises(
        ValueError, match=r"segmentation: expected polygons or run lengths, got 3 in annotation 7 of .*val2017"
    ):
        write(root, segmentation=3).val.target(1, 16, 16)
    with pytest.raises(ValueError, match=r"segmentation: expected run lengths of 16 x 16 pixels, got 8 x 8"):
        write(root, segmentation={"size": [8, 8], "counts": [64]}).val.target(1, 16, 16)


@pytest.mark.parametrize("changes", [{"category_id": "6"}, {"iscrowd": 300}, {"bbox": [1, 2, 3]}], ids=str)
def test_annotations_of_other_types(root, changes):
    with pytest.raises(ValueError, match=r"root: expected annotations as JSON, got .*instances_val2017.json \("):
        _ = write(root, **changes).classes


def test_missing_and_broken_annotations(root):
    with pytest.raises(ValueError, match=r"root: expected a file of annotations, got no .*instances_val2017.json"):
        _ = COCO(str(root), batch_size=1).classes
    data = write(root)
    data.val.file.write_text("[")
    with pytest.raises(ValueError, match=r"root: expected annotations as JSON, got .*instances_val2017.json"):
        _ = COCO(str(root), batch_size=1).classes
    data.val.file.write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"root: expected the format of COCO in .*, got an entry without 'categories'"):
        _ = COCO(str(root), batch_size=1).classes


def test_missing_and_broken_images(root, truncated):
    data = write(root)
    truncated.rename(root / "val2017/a.jpg")
    with pytest.raises(
        ValueError, match=r"image: expected a file that can be decoded, got .*a.jpg .*, image 30 of .*json"
    ):
        _ = data.val_dataset()[1]
    (root / "val2017/a.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"image: expected a file, got no .*a.jpg, image 30 of .*instances_val2017.json"
    ):
        write(root).prepare_data()
    with pytest.raises(ValueError, match=r"image: expected a file, got .*a.jpg, which does not exist, image 30 of"):
        _ = write(root).val_dataset()[1]


def test_images_are_not_queried_one_by_one(root, monkeypatch):
    def stat(path, *args, **kwargs):
        assert not str(path).endswith(".jpg")
        return real(path, *args, **kwargs)

    real = os.stat
    monkeypatch.setattr(os, "stat", stat)
    data = write(root)
    data.prepare_data()
    assert len(data.val) == 2


def test_images_without_annotations_are_dropped_in_training_alone(root):
    write(root)
    data = COCO(str(root), batch_size=2, drop_empty=True, num_workers=0)
    assert [Path(data.source("train").name(i)).name for i in range(len(data.train_dataset()))] == ["a.jpg"]
    assert len(data.val_dataset()) == 2
    assert len(COCO(str(root), batch_size=2).train_dataset()) == 2


def test_categories_of_one_name_keep_their_ids(root):
    data = write(root)
    content = json.loads(data.val.file.read_text())
    content["categories"] = [{"id": number, "name": "kite"} for number in (9, 5)]
    data.val.file.write_text(json.dumps(content))
    data = COCO(str(root), batch_size=2, num_workers=0)
    assert data.classes == ["kite", "kite"]
    found = [{"name": "kite", "label": label, "score": 0.5, "box": [1, 2, 3, 4]} for label in (1, 2)]
    results = data.results([{"image": data.val.name(0), "objects": found}])
    assert [result["category_id"] for result in results] == [5, 9]


@pytest.mark.parametrize("replicas", [1, 2])
def test_batches_of_one_aspect_ratio(tmp_path, replicas):
    """Each batch of each process has only wide or only upright images. All images occur, few of them twice."""
    draw_coco(tmp_path, "train2017", images=40)
    draw_coco(tmp_path, "val2017", images=2)
    data = COCO(str(tmp_path), batch_size=3, group_by_aspect_ratio=True, num_workers=0)
    wide = [image.shape[2] > image.shape[1] for image, _ in data.train_dataset()]
    assert 5 < sum(wide) < 35
    orders = []
    for rank in range(replicas):
        sampler = GroupedSampler(data.train_dataset(), data.groups(), 3, replicas, rank)
        order = [index for _, index in sampler]
        assert len(order) == len(sampler)
        batches = [order[i : i + 3] for i in range(0, len(order), 3)]
        assert all(len({wide[index] for index in batch}) == 1 and len(batch) == 3 for batch in batches)
        orders.append(batches)
    assert len({len(batches) for batches in orders}) == 1
    steps = [{wide[i] for batches in step for i in batches} for step in zip(*orders, strict=True)]
    assert all(len(step) == 1 for step in steps)  # of all processes together
    seen = [index for batches in orders for batch in batches for index in batch]
    assert set(seen) == set(range(40))
    assert len(seen) < 40 + 2 * 3 * replicas
    loader = data.train_dataloader()
    loader.sampler.set_epoch(0)
    first = list(loader.sampler)
    loader.sampler.set_epoch(1)
    assert first != list(loader.sampler)
    shapes = [{image.shape[2] > image.shape[1] for image in batch.images} for batch in loader]
    assert all(len(kinds) == 1 for kinds in shapes)


def test_padding_of_groups_counts_as_in_mmdet():
    """117 266 images with annotations, 8 processes of 2 images: 7330 iterations."""
    groups = torch.zeros(117266, dtype=torch.int64)
    groups[:31000] = 1
    sampler = GroupedSampler(range(117266), groups, 2, 8, 0)
    assert len(sampler) // 2 == 7330


def test_masks_cost_nothing_where_they_are_not_read(root):
    data = write(root)
    assert data.val.annotations.segmentation(0) == [[2, 3, 8, 3, 8, 11, 2, 11]]
    assert COCO(str(root), batch_size=1).val.annotations._segmentations.nbytes == 0


def test_splits_have_the_same_categories(root):
    data = write(root)
    content = json.loads(data.val.file.read_text())
    content["categories"].append({"id": 9, "name": "ball"})
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"root: expected the categories of .*val2017.json in .*train2017.json, got others"
    ):
        data.train_dataset()
