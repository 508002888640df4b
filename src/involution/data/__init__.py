"""Images and labels: files in, batches out."""

from involution.data.batch import Batch, Query
from involution.data.cifar10 import CIFAR10
from involution.data.digits import Digits
from involution.data.files import ImageFiles
from involution.data.folder import ImageFolder
from involution.data.imagenet import ImageNet
from involution.data.labelled import Labelled, Split, Splits
from involution.data.synthetic import Synthetic
from involution.data.transforms import Preprocessing

__all__ = [
    "CIFAR10",
    "Batch",
    "Digits",
    "ImageFiles",
    "ImageFolder",
    "ImageNet",
    "Labelled",
    "Preprocessing",
    "Query",
    "Split",
    "Splits",
    "Synthetic",
]
