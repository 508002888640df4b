"""Memory that networks take."""
