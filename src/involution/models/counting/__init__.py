"""Parameters and multiply-adds of a network, as PyTorch counts them and as the paper does."""
