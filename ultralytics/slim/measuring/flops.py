"""GFLOPs of a model: as Ultralytics counts them, or by PyTorch where that fails."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ultralytics.utils.torch_utils import get_flops

from ..kinds import input_channels

TRIES = 3


def count_gflops(model: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of a model at images of `imgsz` pixels a side, 0.0 where they cannot be counted.

    Ultralytics gives 0.0 where the model fails: as code that looks at values may on an image that nobody filled, for
    which another is tried; or where its first weight reads fewer channels than an image has, or thop does not know it.
    """
    for _ in range(TRIES):
        if gflops := get_flops(model, imgsz):
            return gflops
    return _by_torch(model, imgsz)


def _by_torch(model: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode  # torch before 2.1 has none

    net, weight = copy.deepcopy(model).eval(), next(model.parameters())
    side = max(int(max(getattr(model, "stride", [32]))), 32) * 2  # some demand more than one position
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(weight.new_zeros(1, input_channels(model), side, side))
    except Exception:  # other people's code raises anything
        return 0.0
    return counter.get_total_flops() / 1e9 * (imgsz / side) ** 2
