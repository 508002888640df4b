"""Networks of equal size, trained under one recipe."""
