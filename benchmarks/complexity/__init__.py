"""Parameters and multiply-adds of all networks in the comparison."""
