"""Data sets, transforms and data modules: batches of images and targets from files."""

from involution.data.batch import IGNORE_INDEX, ClassificationBatch, DetectionBatch, PredictionBatch, SegmentationBatch
from involution.data.classification.cifar10 import CIFAR10
from involution.data.classification.data_module import ClassificationDataModule, Splits
from involution.data.classification.digits import Digits
from involution.data.classification.folder import ImageFolder
from involution.data.classification.imagenet import ImageNet
from involution.data.classification.sources import LabelledFiles, LabelledTensors
from involution.data.classification.synthetic import Synthetic
from involution.data.dataset import ImageDataset, ImageFiles, ImageSource
from involution.data.detection.coco import COCO
from involution.data.detection.data_module import DetectionEvalTransform
from involution.data.detection.instance_mask_folder import InstanceMaskFolder
from involution.data.module import DataModule, PredictionDataModule
from involution.data.segmentation.cityscapes import Cityscapes
from involution.data.segmentation.masks import SegmentationEvalTransform
from involution.data.segmentation.semantic_mask_folder import SemanticMaskFolder
from involution.data.transforms import ClassificationEvalTransform

__all__ = [
    "CIFAR10",
    "COCO",
    "IGNORE_INDEX",
    "Cityscapes",
    "ClassificationBatch",
    "ClassificationDataModule",
    "ClassificationEvalTransform",
    "DataModule",
    "DetectionBatch",
    "DetectionEvalTransform",
    "Digits",
    "ImageDataset",
    "ImageFiles",
    "ImageFolder",
    "ImageNet",
    "ImageSource",
    "InstanceMaskFolder",
    "LabelledFiles",
    "LabelledTensors",
    "PredictionBatch",
    "PredictionDataModule",
    "SegmentationBatch",
    "SegmentationEvalTransform",
    "SemanticMaskFolder",
    "Splits",
    "Synthetic",
]
