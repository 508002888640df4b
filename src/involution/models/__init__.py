"""Networks: image in, features, boxes or masks out. Importing this package registers them in timm."""

from involution.models import comparison, rednet
from involution.models.inference import prepare
from involution.models.rednet import RedNet

__all__ = ["RedNet", "comparison", "prepare", "rednet"]
