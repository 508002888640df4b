import json

import pytest
import torch
from coco_files import draw_coco
from PIL import Image

from involution.data import COCO, PredictionBatch
from involution.data.detection.run_lengths import run_lengths


@pytest.fixture
def root(tmp_path):
    """Two splits, each with an image of 16 x 16 pixels that has the objects a test gives it, and one that has none."""
    for split in ("train2017", "val2017"):
        (tmp_path / split).mkdir()
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (16, 16)).save(tmp_path / split / name)
    (tmp_path / "annotations").mkdir()
    return tmp_path


def write(root, **changes):
    """Write both files of annotations: one good object, changed; return the data module."""
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
    for segmentation in ({"size": [16, 16], "counts": [35, 8, 8, 8, 197]}, run_lengths(mask)):
        assert torch.equal(write(root, segmentation=segmentation).judged().target(1, 16, 16)["masks"], mask[None])


def test_augmented_objects_stay_on_their_pixels(tmp_path):
    for zoom in (False, True):
        draw_coco(tmp_path / str(zoom), "train2017")
        draw_coco(tmp_path / str(zoom), "val2017", images=2)
        data = COCO(str(tmp_path / str(zoom)), batch_size=4, masks=True, zoom=zoom, num_workers=0)
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
            assert 0 <= image.min() <= image.max() <= 1
        assert seen > 30


def test_results_have_the_ids_of_the_file(root):
    data = write(root)
    [query] = data.predict_dataloader()
    assert isinstance(query, PredictionBatch)
    found = {"name": "kite", "score": 0.5, "box": [1, 2, 3, 4], "mask": {"size": [16, 16], "counts": "S18h0"}}
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
    with pytest.warns(UserWarning, match=r"1 boxes of .*instances_val2017.json .* annotation 7 of a.jpg; to learn"):
        judged = data.judged()
    assert judged.target(1, 16, 16)["boxes"].tolist() == [[box[0], box[1], box[0] + box[2], box[1] + box[3]]]
    with pytest.warns(UserWarning, match=r"1 boxes of .*instances_train2017.json"):
        train = data.train_dataset()
    boxes = train[1].targets["boxes"]
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
        write(root, segmentation=3).judged().target(1, 16, 16)


def test_missing_and_broken_annotations(root):
    with pytest.raises(
        ValueError, match=r"root: expected the annotations .*instances_val2017.json, which do not exist"
    ):
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
        ValueError, match=r"image: expected .*a.jpg, image 30 of .*instances_val2017.json, which does not"
    ):
        _ = write(root).classes


def test_splits_have_the_same_categories(root):
    data = write(root)
    content = json.loads(data.val.file.read_text())
    content["categories"].append({"id": 9, "name": "ball"})
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"root: expected the categories of .*val2017.json in .*train2017.json, got others"
    ):
        data.train_dataset()
