"""Training: steps of the recipes with two processes, on images of real size."""
