"""Kinds of modules by the names of their classes, which a release may lack."""

from __future__ import annotations

from torch import nn


def is_a(module: nn.Module | None, kind: str) -> bool:
    """Return whether a module's class, or one that it derives from, is called `kind`."""
    return any(cls.__name__ == kind for cls in type(module).__mro__)


def input_channels(model: nn.Module) -> int:
    """Return how many channels the images have that a network reads.

    The first layer says it where it is a convolution; others may first stack shifted copies of the image, as YOLOv5's
    Focus does, so that of those the network's YAML says it.
    """
    first = next((m for m in getattr(model, "model", ())), None)
    if type(first).__name__ == "Conv":
        first = getattr(first, "conv", None)
    if isinstance(first, nn.Conv2d):
        return first.in_channels
    yaml = getattr(model, "yaml", None)
    known = [yaml.get(key) for key in ("channels", "ch")] if isinstance(yaml, dict) else []
    weights = (p.shape[1] for p in model.parameters() if p.dim() == 4)
    return next((n for n in known if isinstance(n, int) and n > 0), None) or next(weights)
