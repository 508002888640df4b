"""Networks: image in, features out. Importing this package registers them in timm."""

from involution.models import rednet
from involution.models.rednet import RedNet

__all__ = ["RedNet", "rednet"]
