"""The front: models from large to small, one pruned from the other, and what each costs and keeps."""
