"""Networks: image in, features, boxes or masks out. Importing this package registers them in timm."""

from involution.models import comparison, lsnet, rednet
from involution.models.inference import prepare
from involution.models.rednet import RedNet

__all__ = ["RedNet", "comparison", "lsnet", "prepare", "rednet"]
