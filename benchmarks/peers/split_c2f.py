"""C2f without its `chunk`, which Torch-Pruning cannot follow: the usual remedy, one convolution for each half."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ultralytics.nn.modules import C2f, Conv


class SplitC2f(nn.Module):
    """A C2f whose first convolution is two: what it puts out is the same, and the halves may differ in width.

    Args:
        c2f (C2f): The block to stand in for; not modified. A subclass with a forward of its own will not do.
    """

    def __init__(self, c2f: C2f):
        super().__init__()
        half = c2f.cv1.conv.out_channels // 2
        self.passed = _rows(c2f.cv1, slice(0, half))
        self.processed = _rows(c2f.cv1, slice(half, 2 * half))
        self.cv2, self.m = copy.deepcopy(c2f.cv2), copy.deepcopy(c2f.m)
        self.i, self.f, self.type, self.np = c2f.i, c2f.f, c2f.type, c2f.np  # where it stands in the model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output (N, C, H, W)."""
        y = [self.passed(x), self.processed(x)]
        for block in self.m:
            y.append(block(y[-1]))
        return self.cv2(torch.cat(y, 1))


@torch.no_grad()
def _rows(conv: Conv, rows: slice) -> Conv:
    """Return a copy of a convolution with its BatchNorm that has only these output channels."""
    part = copy.deepcopy(conv)
    part.conv.out_channels = part.bn.num_features = rows.stop - rows.start
    part.conv.weight = nn.Parameter(conv.conv.weight[rows].clone())
    for name in ("weight", "bias"):
        setattr(part.bn, name, nn.Parameter(getattr(conv.bn, name)[rows].clone()))
    for name in ("running_mean", "running_var"):
        setattr(part.bn, name, getattr(conv.bn, name)[rows].clone())
    return part


def split_c2f(model: nn.Module) -> nn.Module:
    """Return a copy of an Ultralytics model whose C2f blocks are `SplitC2f`; other blocks stay as they are."""
    model = copy.deepcopy(model)
    for index, layer in enumerate(model.model):
        if type(layer) is C2f:
            model.model[index] = SplitC2f(layer)
    return model
