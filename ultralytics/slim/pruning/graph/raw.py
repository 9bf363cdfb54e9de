"""Raw predictions: what a head puts out before boxes are decoded and sorted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def is_fused(net: nn.Module) -> bool:
    """Return whether `net` is an Ultralytics model whose BatchNorms were folded away."""
    return hasattr(net, "is_fused") and net.is_fused()


def set_raw(net: nn.Module) -> None:
    """Put the head in training mode, in which it puts out raw predictions.

    A fused head stays in evaluation mode: it lacks layers that training runs, and of an end-to-end one the only branch
    left would be cut off from the gradient.
    """
    head = net.model[-1] if hasattr(net, "model") else net
    head.training = not is_fused(net)


def run_raw(net: nn.Module, x: torch.Tensor) -> Any:
    """Return the raw predictions of `net` for images (N, C, H, W)."""
    set_raw(net)
    output = net(x)
    return output[-1] if is_fused(net) and isinstance(output, tuple) else output
