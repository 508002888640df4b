"""Read files of weights without running code in them, translate names of other releases, and write files."""

from involution.weights.fit import differences, require_fit
from involution.weights.names import Renamed, to_official, to_ours
from involution.weights.pretrained import DEFAULT, PRETRAINED
from involution.weights.reading import Saved, check_regular, read_weights
from involution.weights.writing import ENDINGS, check_destination, write_weights

__all__ = [
    "DEFAULT",
    "ENDINGS",
    "PRETRAINED",
    "Renamed",
    "Saved",
    "check_destination",
    "check_regular",
    "differences",
    "read_weights",
    "require_fit",
    "to_official",
    "to_ours",
    "write_weights",
]
