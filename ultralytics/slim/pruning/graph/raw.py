"""Raw predictions: what a head puts out before boxes are decoded and sorted, or queries ranked (`stand_ins`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .stand_ins import head_of, stand_ins


def is_fused(net: nn.Module) -> bool:
    """Return whether `net` is an Ultralytics model whose BatchNorms were folded away."""
    return hasattr(net, "is_fused") and net.is_fused()


def set_raw(net: nn.Module) -> None:
    """Put the head in training mode, in which it puts out raw predictions.

    A fused head stays in evaluation mode: it lacks layers that training runs, and of an end-to-end one the only branch
    left would be cut off from the gradient.
    """
    head_of(net).training = not is_fused(net)


@contextmanager
def raw(net: nn.Module) -> Iterator[None]:
    """Let a model, or its layers one by one, put out raw predictions for images alone, for the time being."""
    head = head_of(net)
    training = head.training
    with stand_ins(net):
        set_raw(net)
        try:
            yield
        finally:
            head.training = training


def run_raw(net: nn.Module, x: torch.Tensor) -> Any:
    """Return the raw predictions of `net` for images (N, C, H, W); its head stays in the mode that gives them."""
    with stand_ins(net):
        set_raw(net)
        output = net(x)
    return output[-1] if is_fused(net) and isinstance(output, tuple) else output
