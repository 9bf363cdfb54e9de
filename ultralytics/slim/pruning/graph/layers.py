"""Layers whose outputs are their stored weights times what they are given: those that can be solved for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def is_plain(m: nn.Module) -> bool:
    """Return whether a module is one of `LAYERS` that runs by PyTorch's own code alone, without a hook.

    What a user derives from them may scale the weight before it is used, say.
    """
    kind = next((kind for kind in LAYERS if isinstance(m, kind)), None)
    if kind is None or "forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks:
        return False
    runs = all(getattr(type(m), name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward"))
    return runs and "weight" in m._parameters


def input_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """Return what a layer was called with, by position or by keyword."""
    return args[0] if args else kwargs["input"]


def channels_first(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a layer reads or puts out with its channels in dimension 1: those of a linear layer are last."""
    return x.movedim(-1, 1) if isinstance(m, nn.Linear) else x
