"""Slimming for Ultralytics detectors: distillation, sparsity and structured pruning."""

from .installation import warn_mixed

warn_mixed()
