"""Networks: image in, features out. Importing this package registers them in timm."""

from involution.models import augmented_resnet, axial_resnet, comparators, inverted, rednet, san
from involution.models.inference import prepare
from involution.models.rednet import RedNet

__all__ = ["RedNet", "augmented_resnet", "axial_resnet", "comparators", "inverted", "prepare", "rednet", "san"]
