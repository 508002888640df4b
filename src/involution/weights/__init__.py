"""Files of weights: read without running code in them, names of other releases translated, written."""

from involution.weights.fit import differences, require_fit
from involution.weights.names import Renamed, to_official, to_ours
from involution.weights.reading import Saved, read_weights
from involution.weights.writing import ENDINGS, check_destination, write_weights

__all__ = [
    "ENDINGS",
    "Renamed",
    "Saved",
    "check_destination",
    "differences",
    "read_weights",
    "require_fit",
    "to_official",
    "to_ours",
    "write_weights",
]
