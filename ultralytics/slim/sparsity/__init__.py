"""Sparse training: the scales γ of the BatchNorms, the L1 penalty on them, and what becomes of them over a run."""
