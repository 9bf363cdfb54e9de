"""Kinds of modules by the names of their classes, which a release may lack."""

from __future__ import annotations

from torch import nn


def is_a(module: nn.Module | None, kind: str) -> bool:
    """Return whether a module's class, or one that it derives from, is called `kind`."""
    return any(cls.__name__ == kind for cls in type(module).__mro__)
