"""Measurements, their records in results/measured, and the tables and pictures made from them."""
