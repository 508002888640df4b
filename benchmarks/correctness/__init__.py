"""Correctness of the operators on random arguments."""
