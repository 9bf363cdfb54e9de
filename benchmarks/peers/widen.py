"""A YOLOv8 of twice the width and the same function, to begin the training of a larger model with.

Source: Chen et al., Net2Net, arXiv 1511.05641, section 2.2.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ultralytics.nn.modules import C2f

NOISE = 0.02  # of a weight's own size


def widened(model: nn.Module, noise: float = NOISE) -> nn.Module:
    """Return a yolov8 with every channel twice: what reads a channel reads both copies at half the weight.

    The head keeps its own channels. A little noise lets the copies part.
    """
    larger = copy.deepcopy(model).float()
    # A description that is nowhere narrower, so that training keeps the widths.
    larger.yaml = {**model.yaml, "scale": "s"} if "scales" in model.yaml else {**model.yaml, "width_multiple": 0.5}
    head = larger.model[-1]
    inside, readers = set(head.modules()), {branch[0].conv for branch in (*head.cv2, *head.cv3)}
    for module in larger.modules():
        if isinstance(module, nn.Conv2d) and (module not in inside or module in readers):
            weight = module.weight.data
            if weight.shape[1] > 3:
                weight = weight.repeat_interleave(2, 1) / 2
            if module not in inside:
                weight = weight.repeat_interleave(2, 0)
            module.weight = nn.Parameter(weight * (1 + noise * torch.randn_like(weight)))
            module.out_channels, module.in_channels = weight.shape[:2]
        elif isinstance(module, nn.BatchNorm2d) and module not in inside:
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(module, name).data = getattr(module, name).data.repeat_interleave(2)
            module.num_features *= 2
        elif isinstance(module, C2f):
            module.c *= 2
    return larger
