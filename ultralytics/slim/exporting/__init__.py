"""Other formats: which there are, how one is made, and how its files compare with PyTorch."""
