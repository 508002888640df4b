"""Images with labelled objects: boxes and, where the data set has them, masks."""
