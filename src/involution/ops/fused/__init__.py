"""A whole bottleneck block, or the stem, as one operator for inference."""
