"""Images with labelled objects: boxes and, if the data set has them, masks."""
