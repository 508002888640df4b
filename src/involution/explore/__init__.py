"""Explore a network in the browser: for an image, the kernels that every involution generates."""

from involution.explore.network import Look, Network
from involution.explore.weights import load_network

__all__ = ["Look", "Network", "load_network"]
