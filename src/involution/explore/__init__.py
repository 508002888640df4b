"""Look into networks: image in, the kernels that every involution generates for it out; and a page for the browser."""

from involution.explore.network import Look, Network
from involution.explore.weights import load_network

__all__ = ["Look", "Network", "load_network"]
