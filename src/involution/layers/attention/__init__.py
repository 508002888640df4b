"""Kernel generators of the comparison networks: attention and its relatives."""
