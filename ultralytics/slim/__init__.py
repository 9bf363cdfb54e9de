"""Slimming for Ultralytics detectors: distillation, sparsity and structured pruning."""
