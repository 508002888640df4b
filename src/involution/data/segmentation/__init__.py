"""Images with a class label per pixel."""
