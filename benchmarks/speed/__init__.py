"""Time and memory of operators, layers and networks."""
