"""The smallest model that keeps what is asked for: pruned to one share of the GFLOPs after the other, and measured."""
