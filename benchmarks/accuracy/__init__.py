"""Training runs and their test figures."""
