"""Time and memory of the operator, the layer and the networks."""
