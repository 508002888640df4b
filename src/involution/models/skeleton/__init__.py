"""Components shared by all networks: stems, stages, the bottleneck trunk, and its entry in timm's registry."""
