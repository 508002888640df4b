"""Memory usage of networks."""
