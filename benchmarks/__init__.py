"""Benchmarks, their records in results/measured, and the tables and pictures generated from the records."""
