"""Parameters and multiply-adds of every network that is compared."""
