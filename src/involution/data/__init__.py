"""Images and labels: files in, batches out."""

from involution.data.batch import IGNORED, Batch, Objects, Query, Scenes
from involution.data.classification.cifar10 import CIFAR10
from involution.data.classification.digits import Digits
from involution.data.classification.folder import ImageFolder
from involution.data.classification.imagenet import ImageNet
from involution.data.classification.labelled import Labelled, Split, Splits
from involution.data.classification.synthetic import Synthetic
from involution.data.detection.coco import COCO
from involution.data.detection.instance_folder import MaskFolder
from involution.data.files import ImageFiles
from involution.data.module import DataModule
from involution.data.segmentation.cityscapes import Cityscapes
from involution.data.segmentation.scenes import SceneFormat
from involution.data.segmentation.semantic_folder import SceneFolder
from involution.data.transforms import Preprocessing

__all__ = [
    "CIFAR10",
    "COCO",
    "IGNORED",
    "Batch",
    "Cityscapes",
    "DataModule",
    "Digits",
    "ImageFiles",
    "ImageFolder",
    "ImageNet",
    "Labelled",
    "MaskFolder",
    "Objects",
    "Preprocessing",
    "Query",
    "SceneFolder",
    "SceneFormat",
    "Scenes",
    "Split",
    "Splits",
    "Synthetic",
]
