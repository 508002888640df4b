"""Images and labels: files in, batches out."""

from involution.data.batch import IGNORED, Batch, Objects, Query, Scenes
from involution.data.cifar10 import CIFAR10
from involution.data.cityscapes import Cityscapes
from involution.data.coco import COCO
from involution.data.digits import Digits
from involution.data.files import ImageFiles
from involution.data.folder import ImageFolder
from involution.data.imagenet import ImageNet
from involution.data.labelled import Labelled, Split, Splits
from involution.data.mask_folder import MaskFolder
from involution.data.module import DataModule
from involution.data.scene_folder import SceneFolder
from involution.data.scenes import SceneFormat
from involution.data.synthetic import Synthetic
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
