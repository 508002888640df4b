"""Training: steps of the recipes on images of real size, the overhead of the loop, and several processes."""
