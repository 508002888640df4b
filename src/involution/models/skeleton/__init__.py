"""What every network is made of: stems, stages, the bottleneck trunk, and its entry in timm's registry."""
