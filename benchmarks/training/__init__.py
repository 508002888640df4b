"""Training: the time of a step and of its parts, and steps of the recipes with two processes on images of real size."""
