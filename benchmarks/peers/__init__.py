"""Ways to a smaller detector, this project's among them, measured alike: at the same GFLOPs, after as many epochs."""
