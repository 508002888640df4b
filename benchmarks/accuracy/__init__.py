"""Training runs and their test metrics."""
